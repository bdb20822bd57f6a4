// What a connection does when its daemon goes away, and what callers see of calls and sessions. The
// daemons speak the real protocol; that they die when a test says so cannot be had otherwise.
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { PythonService } from '../src/client.js';
import { PythonConnection } from '../src/connection.js';
import type { DaemonState } from '../src/daemon-types.js';
import { encodeValue } from '../src/encode-value.js';
import { type Answers, type FakeDaemon, type Message, fakeDaemon, refusal, status } from './daemon.js';

function value(it: unknown): Message {
  return { success: true, value: encodeValue(it, 'value'), duration_ms: 1 };
}

/** A connection whose daemons are started as needed, each with the next answers. */
async function connected(...answers: Answers[]) {
  const daemons: FakeDaemon[] = [];
  const reach = vi.fn(async () => {
    const daemon = await fakeDaemon(answers[Math.min(daemons.length, answers.length - 1)] as Answers);
    daemons.push(daemon);
    const { endpoint } = daemon.access;
    const state = { pid: daemons.length, endpoint } as DaemonState;
    return { status: 'started' as const, state, service: new PythonService(daemon.access) };
  });
  const python = await PythonConnection.open(reach);
  onTestFinished(() => python.close());
  return { python, reach, daemons, kill: () => daemons.at(-1)?.kill() };
}

async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const number = (it: number): Answers => ({ Execute: () => value(it) });

describe('a call', () => {
  it('is sent with its options, and returns what came of it', async () => {
    let seen: Message = {};
    const { python } = await connected({
      Execute({ request }) {
        seen = request;
        return {
          ...value(new Set([1n])),
          stdout: Buffer.from('out\xff', 'latin1'),
          stderr: Buffer.from('é'),
          output_truncated: true,
        };
      },
    });
    const result = await python.execute('1', {
      timeoutMs: 1.2,
      cwd: 'dir',
      args: ['a'],
      env: { A: '1', B: undefined },
      upstream: { n: -0 },
      filename: 'f.py',
      maxOutputBytes: 10,
      maxMemoryBytes: 2 ** 40,
    });
    expect(seen).toMatchObject({
      code: '1',
      timeout_ms: 2,
      cwd: `${process.cwd()}/dir`,
      args: ['a'],
      env: { A: '1' },
      upstream: encodeValue({ n: -0 }, ''),
      upstream_form: 'FORM_MSGPACK',
      form: 'FORM_MSGPACK',
      filename: 'f.py',
      max_output_bytes: 10,
      max_memory_bytes: 2 ** 40,
      session: '',
    });
    expect(result).toEqual({
      value: new Set([1]),
      stdout: 'out\ufffd',
      stderr: 'é',
      durationMs: 1,
      outputTruncated: true,
    });
  });

  it('that failed is an error with everything about it', async () => {
    const { python } = await connected({
      Execute: ({ request }) => ({
        success: false,
        stdout: Buffer.from('partial'),
        error: { kind: request['code'], message: 'It failed', traceback: 'Traceback', exit_status: 3, signal: 9 },
        duration_ms: 2,
      }),
    });
    const details = { message: 'It failed', traceback: 'Traceback', stdout: 'partial', stderr: '', durationMs: 2, outputTruncated: false };
    await expect(python.execute('exception')).rejects.toMatchObject({
      name: 'KtxError',
      code: 'KTX_EXEC_FAILED',
      message: 'It failed',
      details: { kind: 'exception', ...details },
    });
    await expect(python.execute('exit')).rejects.toMatchObject({ details: { exitStatus: 3 } });
    await expect(python.execute('signal')).rejects.toMatchObject({ details: { signal: 9 } });
    await expect(python.execute('timeout')).rejects.toMatchObject({ code: 'KTX_EXEC_TIMEOUT' });
  });

  it.each([
    [status.INVALID_ARGUMENT, 'KTX_USAGE'],
    [status.OUT_OF_RANGE, 'KTX_USAGE'],
    [status.RESOURCE_EXHAUSTED, 'KTX_BUSY'],
    [status.DEADLINE_EXCEEDED, 'KTX_EXEC_TIMEOUT'],
    [status.UNAUTHENTICATED, 'KTX_DAEMON_UNREACHABLE'],
    [status.PERMISSION_DENIED, 'KTX_DAEMON_UNREACHABLE'],
    [status.CANCELLED, 'KTX_ABORTED'],
    [status.INTERNAL, 'KTX_EXEC_FAILED'],
  ])('that is refused with %i is %s', async (code, expected) => {
    const { python, reach } = await connected({ Execute: () => Promise.reject(refusal(code, 'Why')) });
    await expect(python.execute('1')).rejects.toMatchObject({ code: expected, message: 'Why' });
    expect(reach).toHaveBeenCalledOnce();
  });

  it.each([
    [{ timeoutMs: 0 }, '`timeoutMs` is a number of milliseconds above 0'],
    [{ maxOutputBytes: Number.NaN }, '`maxOutputBytes` is a number of bytes above 0'],
    [{ upstream: { f: () => {} } }, '`upstream["f"]` is a function, which has no form in Python'],
  ])('is not sent when its options are wrong: %j', async (options, message) => {
    const execute = vi.fn();
    const { python } = await connected({ Execute: execute });
    await expect(python.execute('1', options)).rejects.toMatchObject({ code: 'KTX_USAGE', message });
    await expect(python.execute(1 as never)).rejects.toMatchObject({ code: 'KTX_USAGE' });
    expect(execute).not.toHaveBeenCalled();
  });

  it('is aborted with the reason, and begins only when it may', async () => {
    const execute = vi.fn(() => new Promise<Message>(() => {}));
    const { python } = await connected({ Execute: execute, Cancel: () => ({ found: false }) });
    const reason = new Error('enough');
    const aborted = { code: 'KTX_ABORTED', cause: reason };
    await expect(python.execute('1', { signal: AbortSignal.abort(reason) })).rejects.toMatchObject(aborted);
    expect(execute).not.toHaveBeenCalled();
    const controller = new AbortController();
    const call = python.execute('1', { signal: controller.signal });
    call.catch(() => {});
    await vi.waitUntil(() => execute.mock.calls.length === 1, { timeout: 5_000 });
    controller.abort(reason);
    await expect(call).rejects.toMatchObject(aborted);
  });

  it('may share its signal with any number of others', async () => {
    const warned = vi.fn();
    process.on('warning', warned);
    onTestFinished(() => void process.off('warning', warned));
    const { python } = await connected(number(1));
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 50 }, () => python.execute('1', { signal })));
    await new Promise(setImmediate);
    expect(warned).not.toHaveBeenCalled();
  });
});

describe('a stream', () => {
  it('yields output without cutting characters, and the outcome', async () => {
    const euro = Buffer.from('€');
    const { python } = await connected({
      ExecuteStream(call) {
        call.write({ stdout: euro.subarray(0, 1) });
        call.write({ stderr: Buffer.from('err') });
        call.write({ stdout: Buffer.concat([euro.subarray(1), Buffer.of(0xe2)]) });
        call.write({ outcome: { success: false, error: { kind: 'exception', message: 'No' }, duration_ms: 3 } });
        call.end();
      },
    });
    expect(await collected(python.stream('1'))).toEqual([
      { type: 'stderr', data: 'err' },
      { type: 'stdout', data: '€' },
      { type: 'stdout', data: '\ufffd' },
      {
        type: 'outcome',
        success: false,
        value: null,
        error: { kind: 'exception', message: 'No', traceback: null },
        durationMs: 3,
        outputTruncated: false,
      },
    ]);
  });

  it('ends the code when its loop is left', async () => {
    const cancelled = vi.fn();
    const { python } = await connected({
      ExecuteStream(call) {
        call.on('cancelled', cancelled);
        call.write({ stdout: Buffer.from('1') });
      },
    });
    for await (const { type } of python.stream('1')) {
      expect(type).toBe('stdout');
      break;
    }
    await vi.waitUntil(() => cancelled.mock.calls.length === 1, { timeout: 5_000 });
  });

  it('fails in the middle with what ended it', async () => {
    const { python, kill } = await connected({
      ExecuteStream(call) {
        call.write({ stdout: Buffer.from('1') });
      },
    });
    const events = python.stream('1');
    await events.next();
    kill();
    await expect(events.next()).rejects.toMatchObject({ code: 'KTX_DAEMON_LOST' });
  });

  it('is begun again when its daemon was gone', async () => {
    const answer: Answers = {
      ExecuteStream(call) {
        call.write({ outcome: value(2) });
        call.end();
      },
    };
    const { python, kill, reach } = await connected(answer);
    kill();
    expect(await collected(python.stream('1'))).toMatchObject([{ type: 'outcome', value: 2 }]);
    expect(reach).toHaveBeenCalledTimes(2);
  });
});

describe('a daemon', () => {
  it('that went between two calls is started again, once for all of them', async () => {
    const { python, kill, reach } = await connected(number(1), number(2));
    expect(python.pid).toBe(1);
    expect((await python.execute('1')).value).toBe(1);
    kill();
    const results = await Promise.all([1, 2, 3, 4].map(() => python.execute('1')));
    expect(results.map((result) => result.value)).toEqual([2, 2, 2, 2]);
    expect(reach).toHaveBeenCalledTimes(2);
    expect(python.pid).toBe(2);
  });

  it('that dies during a call loses it, and the next call has another daemon', async () => {
    let dies = (): void => {};
    const { python, kill, reach } = await connected(
      { Execute: () => (dies(), new Promise(() => {})) },
      number(2),
    );
    dies = kill;
    await expect(python.execute('1')).rejects.toMatchObject({
      code: 'KTX_DAEMON_LOST',
      message: expect.stringMatching(/^The daemon at unix:.* ended while the call was on its way: /),
    });
    expect(reach).toHaveBeenCalledOnce();
    expect((await python.execute('1')).value).toBe(2);
  });

  it('that says it takes no call is replaced, and only once', async () => {
    const leaving: Answers = { Execute: () => Promise.reject(refusal(status.UNAVAILABLE, 'Leaving')) };
    const { python, reach } = await connected(leaving, number(2));
    expect((await python.execute('1')).value).toBe(2);
    const other = await connected(leaving);
    await expect(other.python.execute('1')).rejects.toMatchObject({ code: 'KTX_DAEMON_UNREACHABLE' });
    expect(reach).toHaveBeenCalledTimes(2);
    expect(other.reach).toHaveBeenCalledTimes(2);
  });

  it('that takes no call but is there keeps its other calls and its sessions', async () => {
    let end: ((answer: Message) => void) | undefined;
    const long = new Promise<Message>((resolve) => (end = resolve));
    let refusals = 0;
    const { python, reach, daemons } = await connected({
      OpenSession: () => ({ name: 's', id: '1', created: true }),
      Execute({ request }) {
        if (request['code'] === 'long') return long;
        if (request['session'] === 's') return value(3);
        if (refusals++ === 0) throw refusal(status.UNAVAILABLE, 'No worker can be had');
        return value(2);
      },
    });
    const session = await python.session('s');
    const running = python.execute('long');
    running.catch(() => {});
    const { endpoint } = python;
    reach.mockImplementation(async () => {
      const daemon = daemons[0] as FakeDaemon;
      const state = { pid: 1, endpoint } as DaemonState;
      return { status: 'started' as const, state, service: new PythonService(daemon.access) };
    });
    expect((await python.execute('1')).value).toBe(2);
    expect(reach).toHaveBeenCalledTimes(2);
    expect((await session.execute('1')).value).toBe(3);
    end?.(value(1));
    expect((await running).value).toBe(1);
  });

  it('that cannot be started is an error of the call', async () => {
    const { python, kill, reach } = await connected(number(1));
    kill();
    reach.mockRejectedValueOnce(Object.assign(new Error('No'), { code: 'KTX_DAEMON_START' }));
    await expect(python.execute('1')).rejects.toMatchObject({ code: 'KTX_DAEMON_START' });
    expect((await python.execute('1')).value).toBe(1);
  });
});

describe('a session', () => {
  const sessions = (execute: Answers['Execute'] = () => value(1)): Answers => {
    let opened = 0;
    return {
      OpenSession: ({ request }) => ({ name: request['name'] || 'unnamed', id: `id-${++opened}`, created: true }),
      CloseSession: vi.fn(() => ({ found: true })),
      ListSessions: () => ({ sessions: [{ name: 'a', id: 'i', calls: 3, busy: true }] }),
      Execute: execute,
    };
  };

  it('is called by its name and id', async () => {
    const execute = vi.fn(({ request }: { request: Message }) => value([request['session'], request['session_id']]));
    const { python } = await connected(sessions(execute));
    const session = await python.session('mine');
    expect(session.name).toBe('mine');
    expect((await session.execute('1')).value).toEqual(['mine', 'id-1']);
    expect(await python.sessions()).toEqual([{ name: 'a', calls: 3, busy: true }]);
  });

  it('that the daemon no longer has is lost', async () => {
    const { python } = await connected(
      sessions(() => Promise.reject(refusal(status.FAILED_PRECONDITION, 'Another one'))),
    );
    const session = await python.session('mine');
    await expect(session.execute('1')).rejects.toMatchObject({
      code: 'KTX_SESSION_LOST',
      message: 'The session `mine` is gone, and its variables with it',
    });
  });

  it('is lost with its daemon, and starts no other', async () => {
    const { python, kill, reach } = await connected(sessions());
    const session = await python.session('mine');
    kill();
    await expect(session.execute('1')).rejects.toMatchObject({ code: 'KTX_SESSION_LOST' });
    expect(reach).toHaveBeenCalledOnce();
    expect((await python.execute('1')).value).toBe(1);
    await expect(session.execute('1')).rejects.toMatchObject({ code: 'KTX_SESSION_LOST' });
    await expect(collected(session.stream('1'))).rejects.toMatchObject({ code: 'KTX_SESSION_LOST' });
    await session.close();
  });

  it('ends when it is closed', async () => {
    const answers = sessions();
    const { python } = await connected(answers);
    const session = await python.session('mine');
    await session.close();
    await session.close();
    expect(answers.CloseSession).toHaveBeenCalledOnce();
    await expect(session.execute('1')).rejects.toMatchObject({
      code: 'KTX_USAGE',
      message: 'The session `mine` is closed',
    });
  });

  it('without a name ends with its connection, and one with a name does not', async () => {
    const answers = sessions();
    const { python } = await connected(answers);
    await python.session();
    await python.session('mine');
    await python.close();
    expect(vi.mocked(answers.CloseSession as () => Message).mock.calls).toMatchObject([
      [{ request: { name: 'unnamed', id: 'id-1' } }],
    ]);
  });

  it('has a name that is not empty', async () => {
    const { python } = await connected(sessions());
    await expect(python.session('')).rejects.toMatchObject({ code: 'KTX_USAGE' });
  });
});

describe('a connection that is closed', () => {
  it('ends its calls and takes no more', async () => {
    const { python } = await connected({ Execute: () => new Promise(() => {}) });
    const call = python.execute('1');
    call.catch(() => {});
    await new Promise(setImmediate);
    await python.close();
    await python.close();
    await expect(call).rejects.toMatchObject({ code: 'KTX_ABORTED' });
    await expect(python.execute('1')).rejects.toMatchObject({
      code: 'KTX_USAGE',
      message: 'The connection is closed',
    });
    await expect(python.session()).rejects.toMatchObject({ code: 'KTX_USAGE' });
  });

  it('closes at the end of a block', async () => {
    const { python } = await connected(number(1));
    await python[Symbol.asyncDispose]();
    await expect(python.execute('1')).rejects.toMatchObject({ code: 'KTX_USAGE' });
  });
});
