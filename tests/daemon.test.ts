// The life of a daemon, as somebody at a shell sees it.
import { existsSync, readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  DaemonUser,
  expectGone,
  groupOf,
  isAlive,
  userWithRuntime,
} from './support/daemons.js';
import { eventually, run } from './support/processes.js';
import { VERSION, suite, temporaryDirectory } from './support/user.js';

let user: DaemonUser;

beforeAll(async () => {
  user = await userWithRuntime();
});

describe('start', () => {
  test('starts a daemon once and finds it again', async () => {
    const first = await user.startDaemon();
    expect(first).toEqual({
      status: 'started',
      pid: expect.any(Number),
      endpoint: expect.stringMatching(/^unix:\//),
      stateFile: expect.stringContaining(join(user.root, 'daemons')),
      version: VERSION,
      features: ['core'],
    });
    expect(isAlive(first.pid)).toBe(true);
    expect(await user.startDaemon()).toEqual({ ...first, status: 'reused' });
    const again = await user.ktx(['runtime', 'start']);
    expect(again.stdout).toMatch(/^Using existing KTX Python daemon\n/);
    expect(again.stdout).toContain(`pid: ${first.pid}\n`);
    await user.stopAll();
    await expectGone(first.pid);
  });

  test('keeps its state, socket and log to its user, and its token out of sight', async () => {
    const started = await user.startDaemon();
    const state = user.state(started);
    const mode = (path: string): number => statSync(path).mode & 0o777;
    expect(mode(started.stateFile)).toBe(0o600);
    expect(mode(dirname(started.stateFile))).toBe(0o700);
    const socket = started.endpoint.slice('unix:'.length);
    expect(mode(socket)).toBe(0o600);
    expect(mode(dirname(socket))).toBe(0o700);
    expect(mode(state.logPath)).toBe(0o600);
    expect(state).toMatchObject({ schemaVersion: 1, pid: started.pid, version: VERSION });
    expect(state.token).toMatch(/^[0-9a-f]{64}$/);
    const shown = [
      readFileSync(state.logPath, 'utf8'),
      readFileSync(`/proc/${started.pid}/cmdline`, 'utf8'),
      readFileSync(`/proc/${started.pid}/environ`, 'utf8'),
      (await user.ktx(['runtime', 'status', '--json'])).stdout,
      (await user.ktx(['runtime', 'start', '--json'])).stdout,
      (await user.ktx(['runtime', 'logs'])).stdout,
    ];
    for (const text of shown) expect(text).not.toContain(state.token);
  });

  test('lends nothing of the caller to the daemon', async () => {
    await user.stopAll();
    const ktx = join(user.project, 'node_modules/.bin/ktx');
    // The shell waits for `cat`, which waits for the end of the pipe.
    const piped = await run(
      '/bin/sh',
      ['-c', `exec 9</dev/null; '${join(suite.path, 'node')}' '${ktx}' runtime start | /bin/cat`],
      { env: user.env, cwd: user.home },
    );
    expect(piped).toMatchObject({ code: 0, stderr: '' });
    const { pid } = await user.startDaemon();
    for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
      let target = '';
      try {
        target = readlinkSync(`/proc/${pid}/fd/${descriptor}`);
      } catch {
        // It was closed meanwhile.
      }
      expect(target).not.toContain('node_modules');
    }
    expect(readlinkSync(`/proc/${pid}/cwd`)).not.toContain('node_modules');
    for (const stream of [0, 1, 2]) {
      expect(readlinkSync(`/proc/${pid}/fd/${stream}`)).toBe('/dev/null');
    }
  });

  test('replaces the daemon when it is forced', async () => {
    const first = await user.startDaemon();
    const second = await user.startDaemon(['--force']);
    expect(second).toMatchObject({ status: 'started' });
    expect(second.pid).not.toBe(first.pid);
    await expectGone(first.pid);
  });

  test('gives each project that asks for it a daemon of its own', async () => {
    const project = temporaryDirectory();
    const ours = await user.startDaemon();
    const theirs = await user.startDaemon(['--project-dir', project]);
    expect(theirs.pid).not.toBe(ours.pid);
    expect(await user.startDaemon(['--project-dir', project])).toMatchObject({
      status: 'reused',
      pid: theirs.pid,
    });
    await user.ktx(['runtime', 'stop', '--project-dir', project]);
    await expectGone(theirs.pid);
    expect(isAlive(ours.pid)).toBe(true);
  });

  test('uses the new environment after a reinstallation, and the old daemon goes on', async () => {
    const other = await userWithRuntime();
    const before = await other.startDaemon();
    await other.install(['--force']);
    expect(isAlive(before.pid)).toBe(true);
    const after = await other.startDaemon();
    expect(after).toMatchObject({ status: 'started' });
    expect(after.pid).not.toBe(before.pid);
    await other.ktx(['runtime', 'stop']);
    await expectGone(before.pid);
    await expectGone(after.pid);
  });

  test('works where paths are longer than a socket may be', async () => {
    const root = join(temporaryDirectory(), 'd'.repeat(120), 'runtime root');
    const other = await userWithRuntime({ root });
    const started = await other.startDaemon();
    expect(Buffer.byteLength(started.endpoint.slice('unix:'.length))).toBeLessThan(108);
    await other.expectRuns();
    await other.stopAll();
    await expectGone(started.pid);
    expect(existsSync(started.endpoint.slice('unix:'.length))).toBe(false);
  });

  test('installs what is missing, but only when it may', async () => {
    const other = new DaemonUser();
    const refused = await other.ktx(['runtime', 'start', '--no-input']);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('ktx runtime install --yes');
    const started = await other.startDaemon(['--yes']);
    expect(started.status).toBe('started');
  });
});

describe('stop', () => {
  test('ends the daemon and everything that it runs, and says so', async () => {
    const started = await user.startDaemon();
    const code = 'import time; print("runs", flush=True); time.sleep(600)';
    const running = user.start(['exec', '--session', 'busy', '-c', code]);
    await eventually('the code to run', () => running.written.stdout === 'runs\n');
    const stopped = await user.ktx(['runtime', 'stop']);
    expect(stopped).toMatchObject({ code: 0, stderr: '' });
    expect(stopped.stdout).toMatch(/^Stopped KTX Python daemon\n/);
    expect(stopped.stdout).toContain(`pid: ${started.pid}\n`);
    expect(isAlive(started.pid)).toBe(false);
    expect(groupOf(started.pid)).toEqual([]);
    expect((await running.finished).code).toBe(1);
    expect(existsSync(started.endpoint.slice('unix:'.length))).toBe(false);
  });

  test('has nothing to do where none runs', async () => {
    await user.stopAll();
    const stopped = await user.ktx(['runtime', 'stop']);
    expect(stopped).toMatchObject({ code: 0, stdout: 'No KTX Python daemon is running\n' });
  });

  test('ends all daemons of all projects and reports each', async () => {
    const ours = await user.startDaemon();
    const theirs = await user.startDaemon(['--project-dir', temporaryDirectory()]);
    const stopped = await user.ktx(['runtime', 'stop', '--all', '--json']);
    expect(stopped).toMatchObject({ code: 0, stderr: '' });
    for (const { pid } of [ours, theirs]) {
      expect(stopped.stdout).toContain(`"pid": ${pid}`);
      expect(isAlive(pid)).toBe(false);
    }
  });
});

describe('status and logs', () => {
  test('show the daemon', async () => {
    await user.stopAll();
    const without = (await user.status()) as unknown as Record<string, { kind: string }>;
    expect(without['daemon']?.kind).toBe('stopped');
    const { pid, endpoint } = await user.startDaemon();
    const found = (await user.status()) as unknown as Record<string, Record<string, unknown>>;
    expect(found['daemon']).toMatchObject({ kind: 'running' });
    const text = (await user.ktx(['runtime', 'status'])).stdout;
    expect(text).toContain(String(pid));
    expect(text).toContain(endpoint);
    const logs = await user.ktx(['runtime', 'logs']);
    expect(logs).toMatchObject({ code: 0, stderr: '' });
    expect(logs.stdout).toContain('listening');
  });
});
