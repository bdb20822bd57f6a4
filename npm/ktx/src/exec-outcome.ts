// How `ktx exec` shows what came of the code.
import { ExitCode, type KtxIo } from './io.js';
import type { ExecuteOutcome } from './outcome.js';

/** Writes output that was not written as it came, and the value or the failure. */
export function writeOutcome(outcome: ExecuteOutcome, io: KtxIo): void {
  const { success, value, stdout, stderr, error } = outcome;
  if (stdout !== '') io.stdout.write(stdout);
  if (stderr !== '') io.stderr.write(stderr);
  if (success) {
    if (typeof value === 'string') io.stdout.write(`${value}\n`);
    return;
  }
  const text = error?.traceback || error?.message || 'Python failed';
  io.stderr.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** The exit code for an outcome. */
export function exitCodeOf({ success, error }: ExecuteOutcome): number {
  if (success) return ExitCode.done;
  return error?.kind === 'timeout' ? ExitCode.timedOut : ExitCode.failed;
}
