// What a daemon answers, as the rest of the package has it.
import type { ExecuteFailure } from './outcome.js';
import type { ExecuteResponse } from './python-service.js';

/** Why a call failed. */
export function failureOf({ error }: ExecuteResponse): ExecuteFailure {
  if (error === undefined) return { kind: 'exception', message: 'Python failed', traceback: null };
  const { kind, message, traceback } = error;
  return {
    kind,
    message,
    traceback: traceback === '' ? null : traceback,
    ...(kind === 'exit' ? { exitStatus: error.exit_status } : {}),
    ...(kind === 'signal' ? { signal: error.signal } : {}),
  };
}

/** Bytes as text; those that are not UTF-8 become U+FFFD. */
export function textOf(bytes: Uint8Array | undefined): string {
  if (bytes === undefined || bytes.length === 0) return '';
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
