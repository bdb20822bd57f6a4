// `ktx exec` through a daemon: what it prints and when, and how it ends.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type DaemonUser, commandLines, userWithRuntime } from './support/daemons.js';
import { eventually } from './support/processes.js';

let user: DaemonUser;
let pid: number;

beforeAll(async () => {
  user = await userWithRuntime();
  ({ pid } = await user.startDaemon());
});

const exec = async (...args: string[]) => await user.ktx(['exec', ...args]);

describe.each([
  ['through the daemon', []],
  ['without it', ['--no-daemon']],
])('%s', (_name, flags) => {
  test('prints output, value and traceback, and says by its status how it went', async () => {
    expect(await exec(...flags, '-c', 'print("out"); 6 * 7')).toEqual({
      code: 0,
      signal: null,
      stdout: 'out\n42\n',
      stderr: '',
    });
    const failed = await exec(...flags, '-c', 'print("before")\n1 / 0');
    expect(failed).toMatchObject({ code: 1, stdout: 'before\n' });
    expect(failed.stderr).toContain('ZeroDivisionError: division by zero');
    expect(failed.stderr).toContain('line 2');
    expect(await exec(...flags, '--timeout', '0.3', '-c', 'print(1)\nwhile True: pass')).toMatchObject({
      code: 124,
      stdout: '1\n',
    });
    expect((await exec(...flags, '-c', ' ')).code).toBe(2);
  });

  test('prints the one outcome as JSON', async () => {
    const done = await exec(...flags, '--json', '-c', 'print("x"); {"a": [1, 2.5, None]}');
    expect(JSON.parse(done.stdout)).toEqual({
      success: true,
      value: { a: [1, 2.5, null] },
      stdout: 'x\n',
      stderr: '',
      error: null,
      durationMs: expect.any(Number),
    });
    const large = await exec(...flags, '--json', '-c', '2 ** 100');
    expect(large.stdout).toContain('1267650600228229401496703205376');
  });

  test('runs files, with arguments and a directory', async () => {
    const directory = join(user.home, 'work');
    mkdirSync(directory, { recursive: true });
    writeFileSync(
      join(user.home, 'script.py'),
      'import os, sys\nif __name__ == "__main__": print(sys.argv, os.path.basename(os.getcwd()))\n',
    );
    const done = await exec(...flags, 'script.py', '--cwd', directory, '--', 'a b', '--json');
    expect(done).toMatchObject({ code: 0, stderr: '' });
    expect(done.stdout).toBe("['script.py', 'a b', '--json'] work\n");
    expect(await user.ktx(['exec', ...flags, '-'], { stdin: 'print(1)' })).toMatchObject({
      stdout: '1\n',
    });
  });

  test('shows output while the code runs', async () => {
    const running = user.start([
      'exec',
      ...flags,
      '-c',
      'import time\nprint("first", flush=True)\ntime.sleep(600)',
    ]);
    await eventually('the first line', () => running.written.stdout === 'first\n');
    running.kill('SIGINT');
    expect((await running.finished).code).toBe(130);
  });

  test('ends the code at Ctrl-C, with what it started', async () => {
    const running = user.start([
      'exec',
      ...flags,
      '-c',
      'import subprocess\nsubprocess.run(["/bin/sleep", "7654"])',
    ]);
    await eventually('the child of the code', () => commandLines('/bin/sleep 7654').length > 0);
    running.kill('SIGINT');
    expect((await running.finished).code).toBe(130);
    await eventually('it to end', () => commandLines('/bin/sleep 7654').length === 0);
  });

  test('ends the code when the command is killed', async () => {
    const running = user.start([
      'exec',
      ...flags,
      '-c',
      'import subprocess\nsubprocess.run(["/bin/sleep", "7655"])',
    ]);
    await eventually('the child of the code', () => commandLines('/bin/sleep 7655').length > 0);
    running.kill('SIGKILL');
    await running.finished;
    await eventually('it to end', () => commandLines('/bin/sleep 7655').length === 0);
  });
});

test('goes through the daemon that runs', async () => {
  const parent = 'import os; int(open(f"/proc/{os.getppid()}/stat").read().split()[3])';
  const guard = (await exec('-c', parent)).stdout.trim();
  expect(readFileSync(`/proc/${guard}/stat`, 'utf8').split(' ')[3]).toBe(String(pid));
});

test('keeps variables in a session', async () => {
  expect(await exec('--session', 'work', '-c', 'x = 41')).toMatchObject({ code: 0, stdout: '' });
  expect(await exec('--session', 'work', '-c', 'x + 1')).toMatchObject({ code: 0, stdout: '42\n' });
  expect((await exec('-c', 'x')).stderr).toContain('NameError');
  expect((await exec('--session', 'other', '-c', 'x')).stderr).toContain('NameError');
});

test('starts a daemon for a session where none runs', async () => {
  const other = await userWithRuntime();
  expect(await other.ktx(['exec', '--session', 's', '-c', 'y = 1'])).toMatchObject({ code: 0 });
  expect(await other.ktx(['exec', '--session', 's', '-c', 'y'])).toMatchObject({ stdout: '1\n' });
});

test('runs without a daemon when the one in the state is dead', async () => {
  const other = await userWithRuntime();
  const started = await other.startDaemon();
  process.kill(started.pid, 'SIGKILL');
  await other.expectRuns();
});
