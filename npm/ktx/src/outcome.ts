// What comes of a call, whichever way it was made, and the error that it means.
import { KtxError } from './errors.js';

/** Why Python code did not succeed. */
export interface ExecuteFailure {
  /**
   * `exception`, `syntax`, `timeout`, `exit`, `signal`, `memory`, `unserializable` or
   * `output-limit`.
   */
  kind: string;
  message: string;
  /** Empty or null where Python had no chance to write one. */
  traceback: string | null;
  /** The status that the code exited with, where the daemon says so. */
  exitStatus?: number;
  /** The signal that ended the interpreter, where the daemon says so. */
  signal?: number;
}

/** What came of one execution. */
export interface ExecuteOutcome {
  success: boolean;
  value: unknown;
  stdout: string;
  stderr: string;
  error: ExecuteFailure | null;
  /** Milliseconds that the code ran. */
  durationMs: number;
}

/** What an error says of an outcome. */
interface FailedOutcome {
  error: ExecuteFailure | null;
  stdout: string;
  stderr: string;
  durationMs: number;
  outputTruncated?: boolean;
}

/** The error that an unsuccessful outcome means; its `details` are the failure and the output. */
export function outcomeError(outcome: FailedOutcome): KtxError {
  const { error, ...output } = outcome;
  const code = error?.kind === 'timeout' ? 'KTX_EXEC_TIMEOUT' : 'KTX_EXEC_FAILED';
  return new KtxError(code, error?.message ?? 'Python failed', {
    details: { ...error, ...output },
  });
}
