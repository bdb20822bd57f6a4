// Child processes whose end is awaited, whose output is kept and who do not outlive their test.
import { type SpawnOptions, spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { afterAll, onTestFinished } from 'vitest';

/** How a process ended and what it wrote. */
export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** A process that leads a group of its own. */
export interface Running {
  pid: number;
  finished: Promise<Finished>;
  /** What it wrote so far. */
  written: { readonly stdout: string; readonly stderr: string };
  /** Sends a signal to the process, or to its whole group. */
  kill(signal: NodeJS.Signals, whom?: 'process' | 'group'): void;
}

export interface StartOptions {
  env: Record<string, string>;
  cwd: string;
  stdin?: string;
  /** What the output shows before stdin is written; what is typed earlier may be lost. */
  stdinAfter?: string | undefined;
}

const live = new Set<Running>();

// A test that ran out of time has not ended what it started.
afterAll(() => {
  for (const running of live) running.kill('SIGKILL', 'group');
});

/** Starts a program. */
export function start(program: string, args: string[], options: StartOptions): Running {
  const { stdin = '', stdinAfter = '', ...rest } = options;
  const spawnOptions: SpawnOptions = { ...rest, detached: true, stdio: 'pipe' };
  const child = spawn(program, args, spawnOptions);
  const written = { stdout: '', stderr: '' };
  const type = (): void => {
    if (written.stdout.includes(stdinAfter) && child.stdin?.writableEnded === false)
      child.stdin.end(stdin);
  };
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    written.stdout += chunk;
    type();
  });
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (written.stderr += chunk));
  child.stdin?.on('error', () => {});
  type();
  const finished = new Promise<Finished>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, ...written }));
  });
  const { pid } = child;
  if (pid === undefined) return { pid: 0, finished, written, kill() {} };
  const kill: Running['kill'] = (signal, whom = 'process') => {
    try {
      process.kill(whom === 'group' ? -pid : pid, signal);
    } catch (error) {
      // It ended by itself, which a killer has to reckon with.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };
  const running = { pid, finished, written, kill };
  live.add(running);
  const forget = () => void live.delete(running);
  finished.then(forget, forget);
  return running;
}

/** Runs a program to its end. */
export async function run(
  program: string,
  args: string[],
  options: StartOptions,
): Promise<Finished> {
  return await start(program, args, options).finished;
}

/** Ends a process, with its group, after the test at the latest. */
export function endAfterTest(running: Running): Running {
  onTestFinished(async () => {
    running.kill('SIGCONT', 'group');
    running.kill('SIGKILL', 'group');
    await running.finished.catch(() => {});
  });
  return running;
}

/** Command lines of the live processes whose environment holds `mark`, by pid. */
export function processesMarked(mark: string): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    try {
      // A zombie has an empty environment, and is gone for every purpose.
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').includes(mark)) continue;
      found.set(pid, readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim());
    } catch {
      // It ended between the listing and the look.
    }
  }
  return found;
}

/** Waits until `condition` gives something, and gives up after `seconds`. */
export async function eventually<T>(
  what: string,
  condition: () => T | undefined | false,
  seconds = 10,
): Promise<T> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const found = condition();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`Not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
}
