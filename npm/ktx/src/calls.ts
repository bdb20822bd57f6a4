// A call as callers write it, as the daemon reads it, and what came of it, back again.
import { resolve } from 'node:path';
import {
  type Call,
  type ExecuteEvent,
  type ExecuteResponse,
  Form,
  failureOf,
  pieces,
  textOf,
} from './client.js';
import type {
  PythonCallOptions,
  PythonCallResult,
  PythonEvent,
  PythonOutcomeEvent,
} from './connection-types.js';
import { decodeValue } from './decode-value.js';
import { encodeValue } from './encode-value.js';
import { KtxError, messageOf } from './errors.js';
import { outcomeError } from './outcome.js';

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

function readValue(bytes: Uint8Array | undefined): unknown {
  try {
    return decodeValue(bytes ?? new Uint8Array());
  } catch (cause) {
    const message = `The daemon sent a value that cannot be read: ${messageOf(cause)}`;
    throw new KtxError('KTX_EXEC_FAILED', message, { cause });
  }
}
