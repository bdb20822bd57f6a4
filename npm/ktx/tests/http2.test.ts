// The HTTP/2 client against Node's own server, and against servers that break its rules.
import {
  type Http2Server,
  type ServerHttp2Stream,
  type Settings,
  createServer as createHttp2Server,
} from 'node:http2';
import { type Socket, createServer } from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { type Channel, PREFIX_BYTES, setPrefix } from '../src/grpc.js';
import { readFields, writeFields } from '../src/hpack.js';
import { channelTo } from './daemon.js';

function message(text: string): Buffer {
  return setPrefix(Buffer.concat([Buffer.alloc(PREFIX_BYTES), Buffer.from(text)]));
}

/** Answers with the request, and `status` as its fields. */
function echo(stream: ServerHttp2Stream, fields: Record<string, string> = {}): void {
  stream.on('error', () => {});
  stream.respond({ ':status': 200, ...fields }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.pipe(stream);
}

async function connected(
  settings: Settings,
  onStream: (stream: ServerHttp2Stream, server: Http2Server) => void = (stream) => echo(stream),
): Promise<{ channel: Channel; server: Http2Server }> {
  const server = createHttp2Server({ settings });
  server.on('stream', (stream) => onStream(stream, server));
  return { channel: await channelTo(server), server };
}

describe('a request', () => {
  it.each([1, 100, 65_535])('waits for room, here of %i bytes', async (initialWindowSize) => {
    const { channel } = await connected({ initialWindowSize });
    const text = 'x'.repeat(initialWindowSize === 1 ? 300 : 200_000);
    const replies = await Promise.all([1, 2, 3].map(() => channel.unary('/a/b', message(text))));
    for (const reply of replies) expect(reply.toString()).toBe(text);
  });

  it('waits for its turn', async () => {
    let running = 0;
    let most = 0;
    const { channel } = await connected({ maxConcurrentStreams: 2 }, (stream) => {
      most = Math.max(most, ++running);
      stream.once('close', () => (running -= 1));
      setTimeout(() => echo(stream), 5);
    });
    const texts = Array.from({ length: 20 }, (_, index) => `${index}`);
    const replies = await Promise.all(texts.map((text) => channel.unary('/a/b', message(text))));
    expect(replies.map(String)).toEqual(texts);
    expect(most).toBe(2);
  });

  it('that waits for its turn can be aborted', async () => {
    const { channel } = await connected({ maxConcurrentStreams: 1 }, (stream) => {
      stream.on('error', () => {});
    });
    const first = new AbortController();
    const one = channel.unary('/a/b', message('1'), first.signal);
    const two = channel.unary('/a/b', message('2'), AbortSignal.timeout(100));
    await expect(two).rejects.toMatchObject({ status: 1 });
    first.abort();
    await expect(one).rejects.toMatchObject({ status: 1 });
  });

  it('may be answered before it was sent', async () => {
    const reset = vi.fn();
    const { channel } = await connected({ initialWindowSize: 10 }, (stream) => {
      stream.on('error', () => {});
      stream.on('close', () => reset(stream.rstCode));
      stream.respond({ ':status': 200, 'grpc-status': '11', 'grpc-message': 'Too large' }, { endStream: true });
    });
    await expect(channel.unary('/a/b', message('x'.repeat(1000)))).rejects.toMatchObject({
      status: 11,
      message: 'Too large',
    });
    await vi.waitUntil(() => reset.mock.calls.length === 1, { timeout: 5_000 });
  });
});

describe('a reply', () => {
  it('may be larger than every window', async () => {
    const { channel } = await connected({ initialWindowSize: 1 << 24 });
    const text = 'y'.repeat(40_000_000);
    expect((await channel.unary('/a/b', message(text))).equals(Buffer.from(text))).toBe(true);
  });

  it('is not sent faster than it is read', async () => {
    let written = 0;
    const { channel } = await connected({}, (stream) => {
      stream.on('error', () => {});
      stream.respond({ ':status': 200 });
      const more = (): void => {
        while (written < 20_000_000) {
          written += 65_536;
          if (!stream.write(message('z'.repeat(65_531)))) return void stream.once('drain', more);
        }
      };
      more();
    });
    const replies = channel.stream('/a/b', message(''));
    await replies.next();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(written).toBeLessThan(4_000_000);
    for (let read = 0; read < 250; read++) await replies.next();
    expect(written).toBeGreaterThan(15_000_000);
    await replies.return();
  });

  it('may have fields of every kind', async () => {
    const fields: Record<string, string> = {};
    for (let index = 0; index < 150; index++) {
      const length = (index * 37) % 500;
      const text = Array.from({ length }, (_, at) => String.fromCharCode(33 + ((at * 7 + index) % 94)));
      fields[`x-${index}`] = text.join('');
    }
    const { channel } = await connected({}, (stream) => echo(stream, fields));
    for (let call = 0; call < 3; call++) {
      expect(String(await channel.unary('/a/b', message('fields')))).toBe('fields');
    }
  });
});

it('reads what others compress', async () => {
  // Appendix C of RFC 7541, and a text with every code that is not longer than 15 bits.
  const block = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
  expect(readFields(block('8286 84'))).toEqual({});
  expect(readFields(block('88'))).toEqual({ ':status': '200' });
  expect(readFields(block('4803 333032'))).toEqual({ ':status': '302' });
  expect(readFields(block('4882 6402 5885 aec3 771a 4b'))).toEqual({ ':status': '302' });
  expect(readFields(block('400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572'))).toEqual({
    'custom-key': 'custom-header',
  });
  expect(readFields(block('4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf'))).toEqual({
    'custom-key': 'custom-value',
  });
  expect(readFields(block('20 3fe11f 88'))).toEqual({ ':status': '200' });
  const fields = { ':path': '/a/b', 'long-one': 'x'.repeat(5_000) };
  expect(readFields(writeFields(fields))).toEqual(fields);
  for (const hex of ['be', '7f00 00', '4885 64', '40', '0a', 'ff ff ff ff ff ff', '0081 00 00', '0082 ffff 00']) {
    expect(() => readFields(block(hex)), hex).toThrow();
  }
});

describe('a server that', () => {
  /** A server that says its settings, and then what it is told to when it has got a request. */
  async function raw(...answers: Buffer[]): Promise<Channel> {
    const server = createServer((socket: Socket) => {
      socket.on('error', () => {});
      socket.write(frame(4, 0, 0));
      socket.on('data', (chunk) => {
        if (chunk.includes('/a/b')) for (const answer of answers) socket.write(answer);
      });
    });
    return await channelTo(server);
  }

  function frame(type: number, flags: number, id: number, payload: Buffer = Buffer.alloc(0)): Buffer {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(id, 5);
    return Buffer.concat([head, payload]);
  }

  const ok = writeFields({ 'grpc-status': '0' });
  const reply = message('hello');

  it('pads, interleaves, continues and says what nobody knows is understood', async () => {
    const channel = await raw(
      frame(6, 0, 0, Buffer.alloc(8, 7)),
      frame(99, 0xff, 0, Buffer.from('unknown')),
      frame(1, 0x8 | 0x20, 1, Buffer.concat([Buffer.of(2), Buffer.alloc(5), Buffer.of(0x88), Buffer.alloc(2)])),
      frame(9, 0, 1),
      frame(9, 0x4, 1, writeFields({ a: 'b' })),
      frame(2, 0, 1, Buffer.alloc(5)),
      frame(0, 0x8, 1, Buffer.concat([Buffer.of(3), reply.subarray(0, 4), Buffer.alloc(3)])),
      frame(0, 0, 3, Buffer.from('a stream that is not there')),
      ...[...reply.subarray(4)].map((byte) => frame(0, 0, 1, Buffer.of(byte))),
      frame(1, 0x5, 1, ok),
    );
    expect(String(await channel.unary('/a/b', message('')))).toBe('hello');
  });

  it.each([
    ['sends a frame that is too large', frame(0, 0, 1, Buffer.alloc(16_385))],
    ['continues nothing', frame(9, 4, 1)],
    ['interrupts its fields', Buffer.concat([frame(1, 0, 1, ok), frame(0, 0, 1)])],
    ['pushes', frame(5, 4, 1, Buffer.alloc(4))],
    ['pads with more than there is', frame(0, 8, 1, Buffer.of(9))],
    ['sends half a number', frame(8, 0, 1, Buffer.of(0))],
    ['sends fields without end', Buffer.concat([frame(1, 0, 1), ...Array.from({ length: 5 }, () => frame(9, 0, 1, Buffer.alloc(16_000)))])],
    ['sends fields that are none', frame(1, 4, 1, Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff))],
    ['speaks HTTP/1', Buffer.from('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')],
  ])('%s loses its connection', async (_what, answer) => {
    const channel = await raw(answer);
    await expect(channel.unary('/a/b', message(''))).rejects.toMatchObject({
      status: 14,
      accepted: true,
    });
  });

  it('ends a reply too early is found out', async () => {
    const channel = await raw(frame(0, 0, 1, reply.subarray(0, 7)), frame(1, 0x5, 1, ok));
    await expect(channel.unary('/a/b', message(''))).rejects.toMatchObject({ status: 13 });
  });

  it('goes away has not seen what came later', async () => {
    const last = Buffer.alloc(8);
    last.writeUInt32BE(1, 0);
    const channel = await raw(frame(7, 0, 0, last), frame(0, 0, 1, reply), frame(1, 0x5, 1, ok));
    const calls = [1, 2, 3].map(() => channel.unary('/a/b', message('')));
    const unseen = { status: 'rejected', reason: { status: 14, accepted: false } };
    expect(await Promise.allSettled(calls)).toMatchObject([
      { status: 'fulfilled', value: Buffer.from('hello') },
      unseen,
      unseen,
    ]);
  });

  it('gives no sign of life while a call runs is given up', async () => {
    vi.useFakeTimers({ toFake: ['setInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const channel = await raw();
    const call = channel.unary('/a/b', message(''));
    call.catch(() => {});
    await vi.waitUntil(() => channel.isOpen);
    vi.advanceTimersByTime(20_000);
    await expect(call).rejects.toMatchObject({
      status: 14,
      message: 'The server gave no sign of life for 10000 ms',
    });
  });
});

it('answers whether it is there', async () => {
  const answered = vi.fn();
  const { channel, server } = await connected({});
  server.on('session', (session) => session.ping((error) => answered(error)));
  await channel.unary('/a/b', message(''));
  await vi.waitUntil(() => answered.mock.calls.length === 1, { timeout: 5_000 });
  expect(answered).toHaveBeenCalledWith(null);
});
