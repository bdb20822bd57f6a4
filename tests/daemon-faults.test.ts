// What can happen to a daemon and its state, made to happen.
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  type DaemonUser,
  type Started,
  commandLines,
  expectGone,
  isAlive,
  userWithRuntime,
} from './support/daemons.js';
import { eventually } from './support/processes.js';

let user: DaemonUser;

beforeEach(async () => {
  user ??= await userWithRuntime();
  await user.stopAll();
});

function change(started: Started, change: (state: Record<string, unknown>) => void): void {
  const state = user.state(started);
  change(state);
  writeFileSync(started.stateFile, JSON.stringify(state));
}

describe('a state that cannot be believed', () => {
  const damages: [string, (text: string) => string][] = [
    ['empty', () => ''],
    ['truncated', (text) => text.slice(0, text.length / 2)],
    ['of another boot', (text) => text.replace(/"bootId": ?"[^"]*"/, '"bootId":"another"')],
    ['of a newer ktx', (text) => text.replace(/"schemaVersion": ?1/, '"schemaVersion":9')],
    ['of another process', (text) => text.replace(/"startTime": ?\d+/, '"startTime":1')],
  ];
  test.each(damages)('%s: a daemon is started and nobody is signalled', async (_name, damage) => {
    const before = await user.startDaemon();
    const text = readFileSync(before.stateFile, 'utf8');
    writeFileSync(before.stateFile, damage(text));
    expect((await user.ktx(['runtime', 'status', '--json'])).code).toBe(0);
    const after = await user.startDaemon();
    expect(after.status).toBe('started');
    expect(isAlive(before.pid)).toBe(true);
    process.kill(before.pid, 'SIGTERM');
    await expectGone(before.pid);
    expect(isAlive(after.pid)).toBe(true);
  });

  test('a stranger that inherited the pid is never signalled', async () => {
    const stranger = spawn('sleep', ['600'], { stdio: 'ignore' });
    const started = await user.startDaemon();
    process.kill(started.pid, 'SIGKILL');
    await expectGone(started.pid);
    change(started, (state) => {
      state['pid'] = stranger.pid;
    });
    await user.ktx(['runtime', 'stop', '--all']);
    const again = await user.startDaemon();
    expect(again.status).toBe('started');
    expect(isAlive(stranger.pid ?? 0)).toBe(true);
    stranger.kill('SIGKILL');
  });
});

describe('a daemon', () => {
  test('whose starter is killed before the state is written leaves', async () => {
    for (const delay of [5, 20, 40, 60, 80, 100, 120, 160]) {
      const starting = user.start(['runtime', 'start']);
      await new Promise((resolve) => setTimeout(resolve, delay));
      starting.kill('SIGKILL', 'group');
      await starting.finished;
      // One whose state was written in time is found, and ended; any other leaves by itself.
      await user.stopAll();
      await eventually('all to be gone', () => commandLines(user.root).length === 0, 3);
    }
  });

  test('that is killed takes its workers along and is replaced', async () => {
    const started = await user.startDaemon();
    const code = 'import time; print("runs", flush=True); time.sleep(600)';
    const busy = user.start(['exec', '-c', code]);
    await eventually('the call to run', () => busy.written.stdout === 'runs\n');
    process.kill(started.pid, 'SIGKILL');
    await expectGone(started.pid);
    const done = await busy.finished;
    expect(done.code).toBe(1);
    expect(done.stderr).not.toBe('');
    await eventually('its workers to end', () => commandLines(user.root).length === 0);
    await user.expectRuns();
    expect((await user.startDaemon()).status).toBe('started');
  });

  test('that is stopped is told so in time, and ended all the same', async () => {
    const started = await user.startDaemon();
    process.kill(started.pid, 'SIGSTOP');
    const begun = performance.now();
    const status = (await user.status()) as unknown as Record<string, { kind: string }>;
    expect(status['daemon']?.kind).toBe('stale');
    expect(performance.now() - begun).toBeLessThan(4000);
    const stopped = await user.ktx(['runtime', 'stop']);
    expect(stopped.code).toBe(0);
    await expectGone(started.pid);
  });
});
