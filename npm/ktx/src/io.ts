// What the commands read and write through, so that a caller can stand in for the process. Nothing
// is taken for a terminal unless it says so.
import { KtxError, messageOf } from './errors.js';

/** A stream that text is written to. */
export interface KtxOutput {
  write(text: string): unknown;
  /** Whether this is a terminal. Default: `false`. */
  isTTY?: boolean | undefined;
  /** Width of the terminal in columns. */
  columns?: number | undefined;
  /** Whether colours are wanted. Default: on a terminal. */
  colors?: boolean | undefined;
  /** Whether whoever read it is gone, so that nothing more has to be written. Default: `false`. */
  gone?: boolean | undefined;
}

/** The streams of a command; `process` is one. */
export interface KtxIo {
  /** Data. */
  stdout: KtxOutput;
  /** Everything else. */
  stderr: KtxOutput;
  /** Read only by commands that ask or take code. */
  stdin?: NodeJS.ReadableStream & { isTTY?: boolean | undefined };
}

/** Exit codes of every command; a signal `n` adds its number to `signalled`. */
export const ExitCode = {
  done: 0,
  failed: 1,
  usage: 2,
  timedOut: 124,
  signalled: 128,
  /** By Ctrl-C, which a question sees as a key and not as a signal. */
  interrupted: 130,
  /** By the pipe that nobody reads any more. */
  unread: 141,
} as const;

/** Whether live output and questions suit this terminal. */
export function isInteractive(output: KtxOutput): boolean {
  return output.isTTY === true && !process.env['CI'] && process.env['TERM'] !== 'dumb';
}

/** Whether a person can be asked. */
export function canAsk(io: KtxIo): boolean {
  return io.stdin?.isTTY === true && isInteractive(io.stderr);
}

// A terminal whose size nobody has set has no columns.
const DEFAULT_COLUMNS = 80;

/** Width to write for. */
export function columnsOf(output: KtxOutput): number {
  return output.columns || DEFAULT_COLUMNS;
}

/** Whether colours suit a stream. */
export function hasColors(output: KtxOutput): boolean {
  const { NO_COLOR, TERM } = process.env;
  if (NO_COLOR) return false;
  return output.colors ?? (output.isTTY === true && TERM !== 'dumb');
}

/** Writes a failure to stderr, with its fix and log, and returns the exit code. */
export function reportFailure(thrown: unknown, io: KtxIo): number {
  const message = messageOf(thrown);
  const lines = [message];
  const { code, hint, logPath } = Object(thrown) as Partial<KtxError>;
  if (hint !== undefined) lines.push(`Fix: ${hint}`);
  if (logPath !== undefined && !message.includes(logPath)) lines.push(`Log: ${logPath}`);
  io.stderr.write(`${lines.join('\n')}\n`);
  if (code === 'KTX_USAGE') return ExitCode.usage;
  if (code === 'KTX_EXEC_TIMEOUT') return ExitCode.timedOut;
  return code === 'KTX_ABORTED' ? ExitCode.interrupted : ExitCode.failed;
}

/** Writes lines of data to stdout. */
export function printLines(io: KtxIo, lines: string[]): void {
  io.stdout.write(`${lines.join('\n')}\n`);
}

/** Writes data to stdout as JSON. */
export function printJson(io: KtxIo, value: unknown): void {
  io.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
