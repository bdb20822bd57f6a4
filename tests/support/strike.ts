// Strikes at single system calls.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Finished } from './processes.js';
import { type User, temporaryDirectory } from './user.js';

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
