// Strikes at single system calls, and what must hold whatever was struck.
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { type Finished } from './processes.js';
import { type User, ktxModule, temporaryDirectory } from './user.js';

const XTASK = process.env['KTX_XTASK'];

/** Why nothing can be struck here; `undefined` if it can. */
export const missingStrike =
  process.platform === 'linux' && process.arch === 'x64' && XTASK !== undefined
    ? undefined
    : 'system calls are traced on Linux for x64 only';

/** The system calls that change files, by what they do; `open` is any opening. */
export type Kind =
  | 'write'
  | 'rename'
  | 'fsync'
  | 'create'
  | 'open'
  | 'mkdir'
  | 'unlink'
  | 'flock'
  | 'mode';

/** Which call is struck and how. */
export interface Strike {
  /** Its number among the calls that count, from 1. */
  at: number;
  /** The kind that counts. Default: all but openings that change nothing. */
  kind?: Kind;
  /** What it fails with. Default: the process is killed before it. */
  error?: string;
}

const reportPath = join(temporaryDirectory(), 'strikes');

/** Runs `ktx`, struck at a call on the runtime root; gives what became of it and of the strike. */
export async function runStruck(
  user: User,
  args: string[],
  { at, kind, error }: Strike,
): Promise<{ done: Finished; call: string | undefined; calls: number }> {
  const done = await user.ktx(args, {
    through: [
      XTASK ?? '',
      'strike',
      '--below',
      user.root,
      '--report',
      reportPath,
      '--at',
      `${at}`,
      ...(kind === undefined ? [] : ['--kinds', kind]),
      ...(error === undefined ? [] : ['--error', error]),
      '--',
    ],
  });
  const calls = readFileSync(reportPath, 'utf8').trimEnd().split('\n');
  return { done, call: calls[at - 1], calls: calls.length };
}

/** What lies around the runtime root of a user, which nothing may change. */
export class Surroundings {
  private readonly user: User;
  private readonly before: string[];

  constructor(user: User) {
    this.user = user;
    for (const path of [
      join(user.home, 'document'),
      join(dirname(user.root), 'neighbour', 'file'),
      join(user.root, 'notes', 'mine'),
    ]) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, path);
    }
    this.before = this.list();
  }

  /** Fails if anything was created, deleted or written. */
  expectUntouched(note: string): void {
    expect(this.list(), note).toEqual(this.before);
  }

  private list(): string[] {
    const { home, root } = this.user;
    const ours = new Set([root, `${root}.lock`]);
    const lines: string[] = [];
    const visit = (directory: string): void => {
      for (const entry of readdirSync(directory, { withFileTypes: true })) {
        const path = join(directory, entry.name);
        if (ours.has(path)) continue;
        const { mtimeMs, size, ino } = statSync(path);
        lines.push(entry.isDirectory() ? path : `${path} ${ino} ${size} ${mtimeMs}`);
        if (entry.isDirectory()) visit(path);
      }
    };
    visit(home);
    visit(join(root, 'notes'));
    return lines.toSorted();
  }
}

/** Fails if status promises what does not run, or if what worked before does not work now. */
export async function expectTruth(user: User, worked: boolean, note: string): Promise<void> {
  const { kind } = await ktxModule.readManagedPythonRuntimeStatus(user.options);
  if (worked) expect(kind, note).toBe('ready');
  if (kind === 'ready') await user.expectRuns();
}

/** Fails unless a plain installation makes everything work. */
export async function expectHealed(user: User, note: string): Promise<void> {
  const done = await user.ktx(['runtime', 'install', '--yes']);
  expect(done, note).toMatchObject({ code: 0, stderr: '' });
  await expectTruth(user, true, note);
}
