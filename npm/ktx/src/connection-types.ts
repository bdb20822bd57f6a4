// The shapes that a connection to Python takes and returns.
import type { ExecuteFailure } from './outcome.js';

/** Options of a call. */
export interface PythonCallOptions {
  /** Milliseconds after which the code is ended. Default: no limit. */
  timeoutMs?: number | undefined;
  /** Ends the code, and then the call. */
  signal?: AbortSignal | undefined;
  /**
   * Working directory of the code. Default: an empty temporary one, removed afterwards; in a
   * session the one that it is in.
   */
  cwd?: string | undefined;
  /** `sys.argv[1:]`. Default: none. */
  args?: string[] | undefined;
  /** Environment variables that the code sees besides the daemon's; in a session they stay. */
  env?: Record<string, string | undefined> | undefined;
  /**
   * What the code sees as `upstream`; without it that name does not exist. Numbers, strings,
   * `bigint`, `Buffer`, `Date`, arrays, `Map`, `Set` and plain objects arrive as what they are in
   * Python.
   */
  upstream?: unknown;
  /** `sys.argv[0]`, `__file__`, and the name in tracebacks. */
  filename?: string | undefined;
  /** What the code may write, in bytes. Default and limit: the daemon's. */
  maxOutputBytes?: number | undefined;
  /**
   * Memory that each process of the call may take, in bytes. Default and limit: the daemon's. A
   * session keeps what its first call gave.
   */
  maxMemoryBytes?: number | undefined;
}

/** What code that succeeded left behind. */
export interface PythonCallResult {
  /**
   * `_result` if the code set it, else the value of the last expression, else `null`. An integer
   * beyond ±(2^53 - 1) is a `bigint`, `bytes` are a `Buffer`, a `set` is a `Set`, a `datetime` a
   * `Date`, and a `dict` whose keys are not all strings a `Map`.
   */
  value: unknown;
  stdout: string;
  stderr: string;
  /** Milliseconds that the code ran. */
  durationMs: number;
  /** Whether output was cut at the limit. */
  outputTruncated: boolean;
}

/** A piece of output, as it comes; a character is never cut in two. */
export interface PythonOutputEvent {
  type: 'stdout' | 'stderr';
  data: string;
}

/** The end of a call, also of one that failed. */
export interface PythonOutcomeEvent {
  type: 'outcome';
  success: boolean;
  /** `null` if the call failed. */
  value: unknown;
  /** Why the call failed; `null` if it did not. */
  error: ExecuteFailure | null;
  /** Milliseconds that the code ran. */
  durationMs: number;
  /** Whether output was cut at the limit. */
  outputTruncated: boolean;
}

/** What a stream yields: output, and at last the outcome. */
export type PythonEvent = PythonOutputEvent | PythonOutcomeEvent;

/** An open session. */
export interface PythonSessionInfo {
  name: string;
  /** Calls that have been run in it. */
  calls: number;
  /** Whether a call runs in it. */
  busy: boolean;
}
