// A call as callers write it, as the daemon reads it, and what came of it, back again.
import { resolve } from 'node:path';
import type {
  PythonCallOptions,
  PythonCallResult,
  PythonEvent,
  PythonOutcomeEvent,
} from './connection-types.js';
import { decodeValue } from './decode-value.js';
import { encodeValue } from './encode-value.js';
import { KtxError, abortedError, messageOf } from './errors.js';
import { RpcError, Status } from './grpc.js';
import { type ExecuteFailure, outcomeError } from './outcome.js';
import { pieces } from './python-events.js';
import {
  type Call,
  type ExecuteEvent,
  type ExecuteResponse,
  Form,
  type PythonService,
} from './python-service.js';

/** The session that a call is for. */
export interface SessionKey {
  name: string;
  id: string;
}

/** The message for a call whose value travels as MessagePack. */
export function callOf(code: string, options: PythonCallOptions, session?: SessionKey): Call {
  if (typeof code !== 'string') throw new KtxError('KTX_USAGE', 'The code is not a string');
  const { timeoutMs, cwd, args, env, upstream, filename, maxOutputBytes, maxMemoryBytes } = options;
  return {
    code,
    form: Form.FORM_MSGPACK,
    filename,
    args,
    env: env === undefined ? undefined : definedVariables(env),
    cwd: cwd === undefined ? undefined : resolve(cwd),
    upstream: upstream === undefined ? undefined : encodeValue(upstream, 'upstream'),
    upstream_form: upstream === undefined ? undefined : Form.FORM_MSGPACK,
    timeout_ms: amount(timeoutMs, 'timeoutMs', 'milliseconds'),
    max_output_bytes: amount(maxOutputBytes, 'maxOutputBytes', 'bytes'),
    max_memory_bytes: amount(maxMemoryBytes, 'maxMemoryBytes', 'bytes'),
    session: session?.name,
    session_id: session?.id,
  };
}

function amount(value: number | undefined, name: string, unit: string): number | undefined {
  if (value === undefined || value === Number.POSITIVE_INFINITY) return undefined;
  if (!(value > 0)) throw new KtxError('KTX_USAGE', `\`${name}\` is a number of ${unit} above 0`);
  return Math.ceil(value);
}

function definedVariables(env: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

/**
 * What code that succeeded left behind.
 *
 * @throws {@link KtxError} `KTX_EXEC_FAILED` or `KTX_EXEC_TIMEOUT` for code that did not.
 */
export function resultOf(response: ExecuteResponse): PythonCallResult {
  const { success, value, error, durationMs, outputTruncated } = outcomeOf(response);
  const stdout = textOf(response.stdout);
  const stderr = textOf(response.stderr);
  if (!success) throw outcomeError({ error, stdout, stderr, durationMs, outputTruncated });
  return { value, stdout, stderr, durationMs, outputTruncated };
}

/** The outcome of a call without its output. */
export function outcomeOf(response: ExecuteResponse): PythonOutcomeEvent {
  const { success, value, duration_ms, output_truncated } = response;
  return {
    type: 'outcome',
    success,
    value: success ? readValue(value) : null,
    error: success ? null : failureOf(response),
    durationMs: duration_ms,
    outputTruncated: output_truncated,
  };
}

/** The events of a call as callers see them. */
export async function* eventsOf(
  events: AsyncIterable<ExecuteEvent>,
): AsyncGenerator<PythonEvent, void> {
  for await (const piece of pieces(events)) {
    yield piece.type === 'response' ? outcomeOf(piece.response) : piece;
  }
}

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

function readValue(bytes: Uint8Array | undefined): unknown {
  try {
    return decodeValue(bytes ?? new Uint8Array());
  } catch (cause) {
    const message = `The daemon sent a value that cannot be read: ${messageOf(cause)}`;
    throw new KtxError('KTX_EXEC_FAILED', message, { cause });
  }
}

/** Bytes as text; those that are not UTF-8 become U+FFFD. */
export function textOf(bytes: Uint8Array | undefined): string {
  if (bytes === undefined || bytes.length === 0) return '';
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

const CODES: Record<number, string> = {
  [Status.cancelled]: 'KTX_ABORTED',
  [Status.invalidArgument]: 'KTX_USAGE',
  [Status.outOfRange]: 'KTX_USAGE',
  [Status.deadlineExceeded]: 'KTX_EXEC_TIMEOUT',
  [Status.resourceExhausted]: 'KTX_BUSY',
  [Status.failedPrecondition]: 'KTX_SESSION_LOST',
  [Status.permissionDenied]: 'KTX_DAEMON_UNREACHABLE',
  [Status.unauthenticated]: 'KTX_DAEMON_UNREACHABLE',
  [Status.unimplemented]: 'KTX_DAEMON_UNREACHABLE',
};

/** The error that a call ends with when it has no outcome. */
export async function callError(
  thrown: unknown,
  service: PythonService,
  signal?: AbortSignal,
): Promise<unknown> {
  if (!(thrown instanceof RpcError)) return thrown;
  if (signal?.aborted) return abortedError(signal, 'The execution');
  const { endpoint } = service.access;
  const { status, accepted, message } = thrown;
  const details = { endpoint };
  // A daemon that ends cancels its calls first, and says so a little later.
  if (status === Status.cancelled) await service.look();
  if (accepted && (status === Status.unavailable || (status === Status.cancelled && !service.isOpen))) {
    return new KtxError(
      'KTX_DAEMON_LOST',
      `The daemon at ${endpoint} ended while the call was on its way: ${message}`,
      { details, cause: thrown },
    );
  }
  if (status === Status.unavailable) {
    return new KtxError('KTX_DAEMON_UNREACHABLE', `The daemon at ${endpoint} cannot be used: ${message}`, {
      hint: 'Run: ktx runtime start --force',
      details,
      cause: thrown,
    });
  }
  const code = CODES[status] ?? 'KTX_EXEC_FAILED';
  const hint = code === 'KTX_DAEMON_UNREACHABLE' ? 'Run: ktx runtime start --force' : undefined;
  return new KtxError(code, message, { hint, details, cause: thrown });
}
