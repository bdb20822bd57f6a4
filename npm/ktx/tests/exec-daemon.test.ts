// `ktx exec` through a daemon: which one is called, and what is shown of the answer. The daemon speaks
// the real protocol; its answers are the test's.
import { describe, expect, it, vi } from 'vitest';
import type { DaemonAccess } from '../src/daemon-types.js';
import { type KtxCliDeps, getKtxCliPackageInfo, runKtxCli } from '../src/index.js';
import { type Answers, type Message, fakeDaemon, refusal, socketPath, status } from './daemon.js';
import { capturedIo, installed, layout, manifest } from './support.js';

const cliVersion = getKtxCliPackageInfo().version;
const ready = { kind: 'ready', detail: 'Ready', layout, manifest: manifest() } as const;
const nobody: DaemonAccess = { endpoint: `unix:/nowhere/${process.pid}.sock`, token: '' };

interface Run {
  answers?: Answers;
  /** The daemon that is seen; by default the one that answers. */
  seen?: DaemonAccess | 'none';
  deps?: KtxCliDeps;
}

async function exec(argv: string[], { answers = {}, seen, deps = {} }: Run = {}) {
  const captured = capturedIo();
  const { access } = await fakeDaemon(answers);
  const found = seen === 'none' ? undefined : (seen ?? access);
  const findDaemonAccess = vi.fn(async () => found);
  const startDaemonAccess = vi.fn(async () => access);
  const execute = vi.fn(async () => {
    const outcome = { success: true, value: "'alone'", stdout: '', stderr: '', error: null, durationMs: 1 };
    return { outcome, json: JSON.stringify(outcome) };
  });
  const code = await runKtxCli(['exec', ...argv], captured.io, {
    readStatus: () => ready,
    findDaemonAccess,
    startDaemonAccess,
    execute,
    ...deps,
  });
  return {
    code,
    stdout: captured.stdout(),
    stderr: captured.stderr(),
    findDaemonAccess,
    startDaemonAccess,
    execute,
  };
}

/** A stream that writes `events` and remembers the request. */
function streaming(...events: Message[]) {
  const requests: Message[] = [];
  const answers: Answers = {
    ExecuteStream(call) {
      requests.push(call.request);
      for (const event of events) call.write(event);
      call.end();
    },
  };
  return { answers, requests };
}

const repr = (value: string | null): Message => ({
  outcome: { success: true, value: Buffer.from(JSON.stringify(value)), duration_ms: 1 },
});

describe('a daemon that runs', () => {
  it('gets the code with its options', async () => {
    const { answers, requests } = streaming(repr('42'));
    const argv = ['-c', 'x', '--timeout', '1.5', '--cwd', '/d', '--project-dir', '/p', '--', 'a', '-b'];
    const { code, stdout, findDaemonAccess, execute } = await exec(argv, { answers });
    expect({ code, stdout }).toEqual({ code: 0, stdout: '42\n' });
    expect(requests).toMatchObject([
      { code: 'x', args: ['a', '-b'], cwd: '/d', timeout_ms: 1500, form: 'FORM_REPR', session: '' },
    ]);
    expect(findDaemonAccess.mock.calls).toEqual([[{ cliVersion, projectDir: '/p' }]]);
    expect(execute).not.toHaveBeenCalled();
  });

  it('has its output written as it comes, to where it belongs', async () => {
    const { answers } = streaming(
      { stdout: Buffer.from('one\n') },
      { stderr: Buffer.from('two\n') },
      { stdout: Buffer.from('three\n') },
      repr(null),
    );
    expect(await exec(['-c', 'x'], { answers })).toMatchObject({
      code: 0,
      stdout: 'one\nthree\n',
      stderr: 'two\n',
    });
  });

  it.each([
    ['exception', 'Traceback\nNameError\n', 1, 'Traceback\nNameError\n'],
    ['exit', '', 1, 'It was exit\n'],
    ['timeout', '', 124, 'It was timeout\n'],
  ])('reports failure %s', async (kind, traceback, code, stderr) => {
    const error = { kind, message: `It was ${kind}`, traceback };
    const { answers } = streaming({ outcome: { success: false, error, duration_ms: 1 } });
    expect(await exec(['-c', 'x'], { answers })).toMatchObject({ code, stdout: '', stderr });
  });

  it('prints the same JSON as without it', async () => {
    const answers: Answers = {
      Execute: ({ request }) => ({
        success: true,
        value: Buffer.from('[12345678901234567890, 1.0]'),
        stdout: Buffer.from('out'),
        stderr: Buffer.from(String(request['form'])),
        duration_ms: 1.25,
      }),
    };
    const { stdout, code } = await exec(['-c', 'x', '--json'], { answers });
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout:
        '{"success":true,"value":[12345678901234567890, 1.0],"stdout":"out","stderr":"FORM_JSON","error":null,"durationMs":1.25}\n',
    });
  });

  it('prints a failure as JSON', async () => {
    const error = { kind: 'exit', message: 'Exit 3', traceback: '', exit_status: 3 };
    const answers: Answers = { Execute: () => ({ success: false, error, duration_ms: 1 }) };
    const { stdout, code } = await exec(['-c', 'x', '--json'], { answers });
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      success: false,
      value: null,
      stdout: '',
      stderr: '',
      error: { kind: 'exit', message: 'Exit 3', traceback: null },
      durationMs: 1,
    });
  });

  it('is passed over with --no-daemon', async () => {
    const ran = await exec(['-c', 'x', '--no-daemon']);
    expect(ran).toMatchObject({ code: 0, stdout: "'alone'\n" });
    expect(ran.findDaemonAccess).not.toHaveBeenCalled();
  });

  it.each([
    [status.INVALID_ARGUMENT, 2, 'Why\n'],
    [status.RESOURCE_EXHAUSTED, 1, 'Why\n'],
    [status.UNAUTHENTICATED, 1, 'Why\nFix: Run: ktx runtime start --force\n'],
  ])('that refuses with %i ends the command with %i', async (why, code, stderr) => {
    const answers: Answers = { Execute: () => Promise.reject(refusal(why, 'Why')) };
    const ran = await exec(['-c', 'x', '--json'], { answers });
    expect(ran).toMatchObject({ code, stdout: '', stderr });
    expect(ran.execute).not.toHaveBeenCalled();
  });

  it('ends the code when nobody reads its output any more', async () => {
    const cancelled = vi.fn();
    const captured = capturedIo();
    const { access } = await fakeDaemon({
      ExecuteStream(call) {
        call.on('cancelled', cancelled);
        call.write({ stdout: Buffer.from('1') });
      },
    });
    captured.io.stdout.gone = true;
    const code = await runKtxCli(['exec', '-c', 'x'], captured.io, { findDaemonAccess: async () => access });
    expect(code).toBe(141);
    await vi.waitUntil(() => cancelled.mock.calls.length === 1, { timeout: 5_000 });
  });

  it('is asked to end the code at an interruption, and waited for', async () => {
    const controller = new AbortController();
    const log: string[] = [];
    let end = (): void => {};
    const answers: Answers = {
      ExecuteStream(call) {
        end = () => void call.emit('error', refusal(status.CANCELLED, 'Ended'));
        call.write({ stdout: Buffer.from('1') });
        controller.abort();
      },
      Cancel({ request }) {
        log.push(request['call_id'] === '' ? 'nameless' : 'cancel');
        setTimeout(end, 50);
        return { found: true };
      },
    };
    const { code, stdout, stderr } = await exec(['-c', 'x'], {
      answers,
      deps: { interruptible: (work) => work(controller.signal) },
    });
    expect({ code, stdout, stderr, log }).toEqual({
      code: 130,
      stdout: '1',
      stderr: 'The execution was aborted\n',
      log: ['cancel'],
    });
  });
});

describe('a daemon that is gone', () => {
  it('is done without', async () => {
    expect(await exec(['-c', 'x'], { seen: nobody })).toMatchObject({ code: 0, stdout: "'alone'\n" });
    expect(await exec(['-c', 'x'], { seen: 'none' })).toMatchObject({ code: 0, stdout: "'alone'\n" });
  });

  it('that may have begun is not done without', async () => {
    const path = socketPath();
    const answers: Answers = {};
    const daemon = await fakeDaemon(answers, path);
    answers.ExecuteStream = () => daemon.kill();
    const ran = await exec(['-c', 'x'], { seen: daemon.access });
    expect(ran.code).toBe(1);
    expect(ran.stderr).toMatch(/ ended while the call was on its way: /);
    expect(ran.execute).not.toHaveBeenCalled();
  });
});

describe('a session', () => {
  it.each([
    ['none', 'none'],
    ['one that is gone', nobody],
  ] as const)('starts a daemon where there is %s', async (_where, seen) => {
    const { answers, requests } = streaming(repr('1'));
    const ran = await exec(['-c', 'x', '--session', 's'], { answers, seen });
    expect(ran).toMatchObject({ code: 0, stdout: '1\n', stderr: '' });
    expect(requests).toMatchObject([{ session: 's', session_id: '' }]);
    expect(ran.startDaemonAccess).toHaveBeenCalledOnce();
  });

  it('uses a daemon that runs', async () => {
    const { answers } = streaming(repr('1'));
    const ran = await exec(['-c', 'x', '--session', 's'], { answers });
    expect(ran.code).toBe(0);
    expect(ran.startDaemonAccess).not.toHaveBeenCalled();
  });

  it('needs an installed runtime', async () => {
    const missing = { kind: 'missing', detail: 'No runtime manifest at /m', layout } as const;
    const installRuntime = vi.fn(async () => installed('installed'));
    const deps = { readStatus: () => missing, installRuntime };
    const refused = await exec(['-c', 'x', '--session', 's'], { seen: 'none', deps });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('Fix: Run: ktx runtime install --yes\n');
    expect(refused.startDaemonAccess).not.toHaveBeenCalled();
    const { answers } = streaming(repr('1'));
    const argv = ['-c', 'x', '--session', 's', '--yes'];
    expect((await exec(argv, { seen: 'none', deps, answers })).code).toBe(0);
    expect(installRuntime).toHaveBeenCalledOnce();
  });

  it('has a name', async () => {
    expect(await exec(['-c', 'x', '--session', ''])).toMatchObject({
      code: 2,
      stderr: 'The name of a session is not empty\n',
    });
  });
});
