// What `ktx runtime start`, `stop`, `logs` and `status` call and print, with stand-ins for the daemon.
import { appendFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import type { DaemonState, DaemonStatus, StartedDaemon, StoppedDaemon } from '../src/daemon-types.js';
import { runKtxRuntime } from '../src/index.js';
import { capturedIo, layout, manifest, temporaryDirectory } from './support.js';

const cliVersion = '1.2.3';
const state: DaemonState = {
  schemaVersion: 1,
  pid: 42,
  startTime: 7,
  bootId: 'b',
  endpoint: 'unix:/runtime/daemons/k/s.sock',
  version: cliVersion,
  wheelSha256: '00',
  features: ['core', 'local-embeddings'],
  startedAt: '2026-01-02T03:04:05.000Z',
  logPath: '/runtime/daemons/k/daemon.log',
  environment: '/runtime/1.2.3/.venv',
  protocol: 1,
};
const stateFile = '/runtime/daemons/k/daemon.json';

function started(status: 'started' | 'reused'): StartedDaemon {
  const { pid, endpoint, version, features } = state;
  return { status, layout, state, stateFile, endpoint, pid, version, features };
}

const stopped = (more: Partial<StoppedDaemon> = {}): StoppedDaemon => ({
  status: 'stopped',
  pid: 42,
  endpoint: state.endpoint,
  stateFile,
  version: cliVersion,
  ...more,
});

describe('runtime start', () => {
  const start = { command: 'start', cliVersion, feature: 'core', force: false } as const;

  it('prints the daemon that it started', async () => {
    const { io, stdout, stderr } = capturedIo();
    const startDaemon = vi.fn(async () => started('started'));
    const args = { ...start, feature: 'local-embeddings', force: true, projectDir: '/p' } as const;
    expect(await runKtxRuntime(args, io, { startDaemon })).toBe(0);
    expect(stdout()).toMatchInlineSnapshot(`
      "Started KTX Python daemon
      pid: 42
      endpoint: unix:/runtime/daemons/k/s.sock
      version: 1.2.3
      features: core, local-embeddings
      state file: /runtime/daemons/k/daemon.json
      "
    `);
    expect(stderr()).toBe('');
    expect(startDaemon.mock.calls).toStrictEqual([
      [{ cliVersion, projectDir: '/p', features: ['local-embeddings'], force: true }],
    ]);
  });

  it('says when it uses the existing daemon', async () => {
    const { io, stdout } = capturedIo();
    const startDaemon = vi.fn(() => started('reused'));
    await runKtxRuntime(start, io, { startDaemon });
    expect(stdout()).toMatch(/^Using existing KTX Python daemon\npid: 42\n/);
    expect(startDaemon.mock.calls).toStrictEqual([[{ cliVersion, features: ['core'], force: false }]]);
  });

  it('prints six facts as JSON', async () => {
    const { io, stdout } = capturedIo();
    await runKtxRuntime({ ...start, json: true }, io, { startDaemon: () => started('reused') });
    expect(JSON.parse(stdout())).toStrictEqual({
      status: 'reused',
      pid: 42,
      endpoint: state.endpoint,
      stateFile,
      version: cliVersion,
      features: state.features,
    });
  });

  it.each([
    ['missing', undefined, 'The Python runtime is missing: None'],
    ['ready', manifest(['core']), 'The Python runtime is installed without local-embeddings'],
  ] as const)('does not install without a yes where the runtime is %s', async (kind, found, problem) => {
    const { io, stderr } = capturedIo();
    const installRuntime = vi.fn();
    const readStatus = () => ({ kind, detail: 'None', layout, ...(found && { manifest: found }) });
    const args = { ...start, feature: 'local-embeddings' } as const;
    expect(await runKtxRuntime(args, io, { readStatus, installRuntime })).toBe(1);
    const fix = 'ktx runtime install --feature local-embeddings --yes';
    expect(stderr()).toBe(`${problem}\nFix: Run: ${fix}\n`);
    expect(installRuntime).not.toHaveBeenCalled();
  });
});

describe('runtime stop', () => {
  const stop = { command: 'stop', cliVersion, all: false } as const;

  it('prints the daemon that it ended', async () => {
    const { io, stdout } = capturedIo();
    const stopDaemon = vi.fn(() => ({ status: 'stopped' as const, layout, stopped: [stopped()] }));
    expect(await runKtxRuntime({ ...stop, projectDir: '/p' }, io, { stopDaemon })).toBe(0);
    expect(stdout()).toBe('Stopped KTX Python daemon\npid: 42\n');
    expect(stopDaemon.mock.calls).toStrictEqual([[{ cliVersion, projectDir: '/p' }]]);
  });

  it('says when none runs', async () => {
    const { io, stdout } = capturedIo();
    const gone = [stopped({ status: 'already-stopped' })];
    const stopDaemon = () => ({ status: 'already-stopped' as const, layout, stopped: gone });
    expect(await runKtxRuntime(stop, io, { stopDaemon })).toBe(0);
    expect(stdout()).toBe('No KTX Python daemon is running\n');
  });

  it('ends all and prints whose they were', async () => {
    const { io, stdout } = capturedIo();
    const stopAllDaemons = vi.fn(() => [
      stopped(),
      stopped({ pid: 43, version: '1.0.0', projectDir: '/p' }),
      stopped({ status: 'already-stopped', pid: 44 }),
    ]);
    expect(await runKtxRuntime({ ...stop, all: true }, io, { stopAllDaemons })).toBe(0);
    expect(stdout()).toBe(
      'Stopped KTX Python daemon\npid: 42\nversion: 1.2.3\n' +
        'Stopped KTX Python daemon\npid: 43\nversion: 1.0.0\nproject: /p\n',
    );
    expect(stopAllDaemons.mock.calls).toStrictEqual([[{ cliVersion }]]);
  });

  it('prints the same as JSON', async () => {
    const { io, stdout } = capturedIo();
    const daemons = [stopped({ status: 'already-stopped' })];
    await runKtxRuntime({ ...stop, all: true, json: true }, io, { stopAllDaemons: () => daemons });
    expect(JSON.parse(stdout())).toEqual({ status: 'already-stopped', stopped: daemons });
  });
});

describe('runtime status', () => {
  const status = { command: 'status', cliVersion, json: false } as const;
  const readStatus = () => ({ kind: 'ready', detail: 'Ready', layout, manifest: manifest() }) as const;
  const running: DaemonStatus = { kind: 'running', detail: 'It answers', layout, state, stateFile };

  it('prints the daemon below the runtime', async () => {
    const { io, stdout } = capturedIo();
    const readDaemonStatus = vi.fn(() => running);
    await runKtxRuntime({ ...status, projectDir: '/p' }, io, { readStatus, readDaemonStatus });
    expect(stdout()).toContain(
      `\ndaemon: ${layout.daemonPath}\ndaemon status: running\ndaemon detail: It answers\ndaemon pid: 42\n` +
        `daemon endpoint: ${state.endpoint}\ndaemon state file: ${stateFile}\n`,
    );
    expect(readDaemonStatus.mock.calls).toStrictEqual([[{ cliVersion, projectDir: '/p' }]]);
  });

  it('prints nothing of one that does not run', async () => {
    const { io, stdout } = capturedIo();
    const readDaemonStatus = () => ({ kind: 'stopped', detail: 'None', layout }) as const;
    await runKtxRuntime(status, io, { readStatus, readDaemonStatus });
    expect(stdout()).not.toContain('daemon status');
  });

  it('has it in the JSON', async () => {
    const { io, stdout } = capturedIo();
    await runKtxRuntime({ ...status, json: true }, io, { readStatus, readDaemonStatus: () => running });
    expect(JSON.parse(stdout())).toEqual({
      ...readStatus(),
      daemon: { kind: 'running', detail: 'It answers', state, stateFile },
    });
  });
});

describe('runtime logs', () => {
  const logs = { command: 'logs', cliVersion, follow: false, lines: 2 } as const;

  function log(text: string) {
    const path = join(temporaryDirectory(), 'daemon.log');
    writeFileSync(path, text);
    return { path, readDaemonStatus: () => ({ kind: 'stopped', detail: '', layout, logPath: path }) as const };
  }

  it.each([
    ['one\ntwo\nthree\n', 2, 'two\nthree\n'],
    ['one\ntwo\nthree', 2, 'two\nthree'],
    ['one\n', 9, 'one\n'],
    ['one\n', 0, ''],
    ['', 5, ''],
  ])('of %j prints the last lines', async (text, lines, expected) => {
    const { io, stdout } = capturedIo();
    const { readDaemonStatus } = log(text);
    expect(await runKtxRuntime({ ...logs, lines }, io, { readDaemonStatus })).toBe(0);
    expect(stdout()).toBe(expected);
  });

  it('says when there are none', async () => {
    const { io, stderr } = capturedIo();
    const logPath = join(temporaryDirectory(), 'daemon.log');
    const readDaemonStatus = () => ({ kind: 'stopped', detail: '', layout, logPath }) as const;
    expect(await runKtxRuntime(logs, io, { readDaemonStatus })).toBe(1);
    expect(stderr()).toBe(
      `There is no log of a KTX Python daemon at ${logPath}\nFix: Run: ktx runtime start\n`,
    );
  });

  it('follows what is written, also after the log was rotated', async () => {
    const { io, stdout } = capturedIo();
    const { path, readDaemonStatus } = log('one\ntwo\n');
    const controller = new AbortController();
    const running = runKtxRuntime({ ...logs, follow: true, lines: 1 }, io, {
      readDaemonStatus,
      interruptible: (work) => work(controller.signal),
    });
    const until = (text: string) => vi.waitUntil(() => stdout() === text, { timeout: 10_000 });
    await until('two\n');
    appendFileSync(path, 'thr');
    await until('two\nthr');
    appendFileSync(path, 'ee\n');
    renameSync(path, `${path}.1`);
    writeFileSync(path, 'four\n');
    await until('two\nthree\nfour\n');
    controller.abort();
    expect(await running).toBe(130);
  });
});
