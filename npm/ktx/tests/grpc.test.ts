// The gRPC client against the gRPC project's own server, and against what is no such server.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Http2Server, createServer as createHttp2Server } from 'node:http2';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Channel, Status } from '../src/grpc.js';
import { PythonService } from '../src/python-service.js';
import {
  type Answers,
  type Streaming,
  channelTo,
  fakeDaemon,
  refusal,
  socketPath,
  status,
} from './daemon.js';
import { DIST } from './support.js';

async function connected(answers: Answers) {
  const daemon = await fakeDaemon(answers);
  const service = new PythonService(daemon.access);
  onTestFinished(() => service.close());
  return { ...daemon, service };
}

const echo: Answers = {
  Execute: ({ request }) => ({ success: true, value: Buffer.from(request['code']), duration_ms: 1.5 }),
};

describe('a unary call', () => {
  it('carries every field and returns every field', async () => {
    let seen: unknown;
    const { service } = await connected({
      Execute({ request }) {
        seen = request;
        return {
          success: false,
          stdout: Buffer.from('out'),
          error: { kind: 'exit', message: 'It said 3', exit_status: 3 },
          duration_ms: 0.25,
          output_truncated: true,
        };
      },
    });
    const response = await service.execute({
      code: 'é',
      args: ['a', ''],
      upstream: Buffer.from([1]),
      upstream_form: 1,
      timeout_ms: 2 ** 40,
      env: { A: '1', B: '' },
      session: 's',
    });
    expect(seen).toMatchObject({
      code: 'é',
      args: ['a', ''],
      upstream: Buffer.from([1]),
      upstream_form: 'FORM_MSGPACK',
      timeout_ms: 2 ** 40,
      env: { A: '1', B: '' },
      session: 's',
    });
    expect(response).toMatchObject({
      success: false,
      error: { kind: 'exit', message: 'It said 3', exit_status: 3 },
      duration_ms: 0.25,
      output_truncated: true,
    });
    expect(Buffer.from(response.stdout ?? []).toString()).toBe('out');
  });

  it('takes ten megabytes each way', async () => {
    const { service } = await connected(echo);
    const code = 'x'.repeat(10_000_000);
    const { value } = await service.execute({ code });
    expect(Buffer.from(value ?? []).equals(Buffer.from(code))).toBe(true);
  });

  it('does not mix replies', async () => {
    const { service } = await connected(echo);
    const codes = Array.from({ length: 200 }, (_, index) => `code ${index}`);
    const replies = await Promise.all(codes.map((code) => service.execute({ code })));
    expect(replies.map(({ value }) => Buffer.from(value ?? []).toString())).toEqual(codes);
  });

  it('fails with the status and the message of the server', async () => {
    const { service } = await connected({
      Execute: () => Promise.reject(refusal(status.INVALID_ARGUMENT, 'Ungültig: 100 %')),
    });
    await expect(service.execute({ code: '' })).rejects.toMatchObject({
      name: 'RpcError',
      status: Status.invalidArgument,
      message: 'Ungültig: 100 %',
      accepted: true,
    });
  });

  it('fails without the token', async () => {
    const { access } = await connected(echo);
    const stranger = new PythonService({ ...access, token: 'wrong' });
    await expect(stranger.execute({ code: '1' })).rejects.toMatchObject({
      status: Status.unauthenticated,
    });
    stranger.close();
  });
});

describe('a stream', () => {
  const counting = (count: number) => (call: Streaming) => {
    for (let index = 0; index < count; index++) call.write({ stdout: Buffer.from(`${index}`) });
    call.write({ outcome: { success: true } });
    call.end();
  };

  it('yields every message whole and in order', async () => {
    const big = Buffer.alloc(3_000_000, 'b');
    const { service } = await connected({
      ExecuteStream(call) {
        call.write({ stderr: big });
        counting(1000)(call);
      },
    });
    const seen: string[] = [];
    for await (const { stdout, stderr, outcome } of service.stream({ code: 'x' })) {
      if (stderr !== undefined) seen.push(`${big.equals(stderr)}`);
      if (stdout !== undefined) seen.push(Buffer.from(stdout).toString());
      if (outcome !== undefined) seen.push('end');
    }
    expect(seen).toEqual(['true', ...Array.from({ length: 1000 }, (_, index) => `${index}`), 'end']);
  });

  it('comes as it is written', async () => {
    let go = (): void => {};
    const { service } = await connected({
      ExecuteStream(call) {
        call.write({ stdout: Buffer.from('first') });
        go = () => call.end();
      },
    });
    const events = service.stream({ code: 'x' });
    expect(Buffer.from((await events.next()).value?.stdout ?? []).toString()).toBe('first');
    go();
    expect((await events.next()).done).toBe(true);
  });

  it('that is left early is ended on the server', async () => {
    const cancelled = vi.fn();
    const { service } = await connected({
      ExecuteStream(call) {
        call.on('cancelled', cancelled);
        call.write({ stdout: Buffer.from('1') });
      },
    });
    for await (const _event of service.stream({ code: 'x' })) break;
    await vi.waitUntil(() => cancelled.mock.calls.length === 1, { timeout: 5_000 });
  });

  it('ends with the error of the server', async () => {
    const { service } = await connected({
      ExecuteStream(call) {
        call.write({ stdout: Buffer.from('1') });
        call.emit('error', refusal(status.RESOURCE_EXHAUSTED, 'Full'));
      },
    });
    const events = service.stream({ code: 'x' });
    await events.next();
    await expect(events.next()).rejects.toMatchObject({ status: Status.resourceExhausted });
  });
});

describe('an abort', () => {
  const hanging = (found: boolean) => {
    const started = deferred();
    const cancel = vi.fn();
    let end = (): void => {};
    const answers: Answers = {
      Execute: (call) =>
        new Promise((_resolve, reject) => {
          call.on('cancelled', cancel);
          end = () => reject(refusal(status.CANCELLED, 'Ended'));
          started.resolve(undefined);
        }),
      Cancel({ request }) {
        cancel(request['call_id']);
        if (found) end();
        return { found };
      },
    };
    return { answers, started: started.promise, cancel };
  };

  it.each([true, false])('ends the call on the server, also if it does not know it (%s)', async (found) => {
    const { answers, started, cancel } = hanging(found);
    const { service } = await connected(answers);
    const controller = new AbortController();
    const removed = vi.spyOn(controller.signal, 'removeEventListener');
    const call = service.execute({ code: 'x' }, controller.signal);
    call.catch(() => {});
    await started;
    controller.abort();
    await expect(call).rejects.toMatchObject({ status: Status.cancelled });
    expect(cancel).toHaveBeenCalledWith(expect.stringMatching(/^\d+-\w+-1$/));
    expect(removed).toHaveBeenCalledOnce();
  });

  it('does not wait for a server that does not hear of it', async () => {
    const { answers, started } = hanging(true);
    const { service } = await connected({ ...answers, Cancel: () => new Promise(() => {}) });
    const controller = new AbortController();
    const call = service.execute({ code: 'x' }, controller.signal);
    call.catch(() => {});
    await started;
    const aborted = performance.now();
    controller.abort();
    await expect(call).rejects.toMatchObject({ status: Status.cancelled });
    expect(performance.now() - aborted).toBeLessThan(3_000);
  });

  it('that came before sends nothing', async () => {
    const { answers, cancel } = hanging(true);
    const execute = vi.fn();
    const { service } = await connected({ ...answers, Execute: execute });
    await expect(service.execute({ code: 'x' }, AbortSignal.abort())).rejects.toMatchObject({
      status: Status.cancelled,
      accepted: false,
    });
    await expect(service.stream({ code: 'x' }, AbortSignal.abort()).next()).rejects.toMatchObject({
      status: Status.cancelled,
    });
    expect(execute).not.toHaveBeenCalled();
    expect(cancel).not.toHaveBeenCalled();
  });

  it('leaves no listener behind after a call that ended by itself', async () => {
    const { service } = await connected(echo);
    const { signal } = new AbortController();
    const added = vi.spyOn(signal, 'addEventListener');
    const removed = vi.spyOn(signal, 'removeEventListener');
    await service.execute({ code: '1' }, signal);
    expect(removed).toHaveBeenCalledTimes(added.mock.calls.length);
  });
});

describe('a server that is not there', () => {
  const unseen = { status: Status.unavailable, accepted: false };

  it('has seen nothing when nobody listens', async () => {
    const service = new PythonService({ endpoint: `unix:${socketPath()}`, token: '' });
    await expect(service.execute({ code: '1' })).rejects.toMatchObject(unseen);
    await expect(service.stream({ code: '1' }).next()).rejects.toMatchObject(unseen);
  });

  it('has seen nothing when it went between two calls', async () => {
    const { service, kill } = await connected(echo);
    await service.execute({ code: '1' });
    kill();
    await expect(service.execute({ code: '2' })).rejects.toMatchObject(unseen);
  });

  it('has seen nothing when it went while this process was busy', async () => {
    const path = socketPath();
    const script = join(import.meta.dirname, 'echo-server.mjs');
    const server = spawn(process.execPath, [script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(server.stdout, 'data');
    const channel = new Channel({ endpoint: `unix:${path}`, token: '' });
    const message = Buffer.from([0, 0, 0, 0, 1, 42]);
    expect(await channel.unary('/a/b', message)).toEqual(Buffer.from([42]));
    // Only a process that is not busy hears of the end.
    execFileSync('kill', ['-9', String(server.pid)]);
    execFileSync(process.execPath, ['-e', 'setTimeout(() => {}, 100)']);
    await expect(channel.unary('/a/b', message)).rejects.toMatchObject(unseen);
  });

  it('may have seen a call that was on its way', async () => {
    const { service, kill } = await connected({
      Execute: () => {
        kill();
        return new Promise(() => {});
      },
    });
    await expect(service.execute({ code: '1' })).rejects.toMatchObject({
      status: Status.unavailable,
      accepted: true,
    });
  });

  it('is found again when it is back', async () => {
    const path = socketPath();
    const first = await fakeDaemon(echo, path);
    const service = new PythonService(first.access);
    await service.execute({ code: '1' });
    first.kill();
    await expect(service.execute({ code: '1' })).rejects.toMatchObject(unseen);
    const second = await fakeDaemon(echo, path);
    second.access.token = first.access.token;
    expect((await service.execute({ code: '1' })).success).toBe(true);
    service.close();
  });

  it('is given up when it accepts connections and says nothing', async () => {
    const path = socketPath();
    const silent = createServer().listen(path);
    onTestFinished(() => void silent.close());
    await once(silent, 'listening');
    const channel = new Channel({ endpoint: `unix:${path}`, token: '' });
    await expect(channel.unary('/a/b', Buffer.alloc(5))).rejects.toMatchObject({
      ...unseen,
      message: 'The server did not answer within 2000 ms',
    });
  });

  it('is not waited for after an abort', async () => {
    const path = socketPath();
    const silent = createServer().listen(path);
    onTestFinished(() => void silent.close());
    await once(silent, 'listening');
    const channel = new Channel({ endpoint: `unix:${path}`, token: '' });
    const started = performance.now();
    const signal = AbortSignal.timeout(50);
    await expect(channel.unary('/a/b', Buffer.alloc(5), signal)).rejects.toMatchObject({
      status: Status.cancelled,
      accepted: false,
    });
    expect(performance.now() - started).toBeLessThan(1_500);
    channel.close();
  });
});

describe('a server that speaks something else', () => {
  async function http2(onServer: (server: Http2Server) => void): Promise<Channel> {
    const server = createHttp2Server();
    onServer(server);
    return await channelTo(server);
  }

  it.each([
    [404, Status.unimplemented],
    [503, Status.unavailable],
    [200, Status.internal],
  ])('with HTTP status %i fails with %i', async (httpStatus, expected) => {
    const channel = await http2((server) =>
      server.on('stream', (stream) => {
        stream.respond({ ':status': httpStatus });
        stream.end('<html>');
      }),
    );
    await expect(channel.unary('/a/b', Buffer.alloc(5))).rejects.toMatchObject({ status: expected });
  });

  it('in a message fails', async () => {
    const channel = await http2((server) =>
      server.on('stream', (stream) => {
        stream.respond({ ':status': 200 }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
        stream.end(Buffer.from([0, 0, 0, 0, 9, 1]));
      }),
    );
    await expect(channel.unary('/a/b', Buffer.alloc(5))).rejects.toMatchObject({
      status: Status.internal,
      message: 'The server sent something that is no message',
    });
  });

  it('and refuses a stream has not begun with the call', async () => {
    const channel = await http2((server) =>
      server.on('stream', (stream) => stream.on('error', () => {}).close(7)),
    );
    await expect(channel.unary('/a/b', Buffer.alloc(5))).rejects.toMatchObject({
      status: Status.unavailable,
      accepted: false,
    });
  });

  it('gets a new connection after it said that it goes away', async () => {
    let connections = 0;
    const channel = await http2((server) => {
      server.on('session', () => {
        connections += 1;
      });
      server.on('stream', (stream) => {
        stream.respond({ ':status': 200, 'grpc-status': '5' }, { endStream: true });
        stream.session?.goaway(0);
      });
    });
    for (let call = 0; call < 3; call++) {
      await expect(channel.unary('/a/b', Buffer.alloc(5))).rejects.toMatchObject({ status: 5 });
      await channel.look();
    }
    expect(connections).toBe(3);
  });
});

it('keeps Node alive while a call runs and no longer', async () => {
  const { access } = await fakeDaemon({
    Execute: () =>
      new Promise((resolve) => {
        setTimeout(() => resolve({ success: true }), 200);
      }),
  });
  const script = `const { PythonService } = require(${JSON.stringify(join(DIST, 'client.cjs'))});
    const service = new PythonService(${JSON.stringify(access)});
    service.execute({ code: '1' }).then(({ success }) => console.log(success));`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.on('data', (chunk) => (printed += chunk));
  expect(await once(child, 'close')).toEqual([0, null]);
  expect(printed).toBe('true\n');
});

function deferred() {
  let resolve = (_value: unknown): void => {};
  const promise = new Promise((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
