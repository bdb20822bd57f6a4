// `ktx exec` through the daemon. It is loaded only when there is one to be called.
import { resolve } from 'node:path';
import type { Call, ExecuteResponse, PythonService } from './client.js';
import type { DaemonAccess } from './daemon-types.js';
import { KtxError } from './errors.js';
import type { ExecArgs } from './exec-command.js';
import { exitCodeOf, writeOutcome } from './exec-outcome.js';
import { openSocket } from './http2-socket.js';
import { ExitCode, type KtxIo, printLines } from './io.js';
import type { ExecuteOutcome } from './outcome.js';

/** What to run, and where. */
export interface DaemonExec extends Omit<ExecArgs, 'source'> {
  code: string;
  filename: string | undefined;
}

/** How the daemon is reached. */
export interface DaemonReach {
  /** How to call the one that was seen. */
  access: DaemonAccess | undefined;
  /** Starts one. */
  start: () => Promise<DaemonAccess>;
}

/** Lends a signal to work for as long as it runs. */
export type Interruptible = <T>(work: (signal?: AbortSignal) => Promise<T>) => Promise<T>;

/**
 * Runs code and returns the exit code; `undefined` if no daemon took it, so that it can be run in
 * another way. For a session a daemon is started.
 */
export async function execInDaemon(
  exec: DaemonExec,
  { access, start }: DaemonReach,
  io: KtxIo,
  interruptible: Interruptible,
): Promise<number | undefined> {
  if (exec.session === '') throw new KtxError('KTX_USAGE', 'The name of a session is not empty');
  if (access !== undefined) {
    const ran = await interruptible((signal) => attempt(exec, access, io, signal));
    if (ran.exitCode !== undefined) return ran.exitCode;
    if (exec.session === undefined) return undefined;
  }
  const started = await start();
  const ran = await interruptible((signal) => attempt(exec, started, io, signal));
  if (ran.exitCode === undefined) throw ran.error;
  return ran.exitCode;
}

type Attempt = { exitCode: number } | { exitCode: undefined; error: unknown };
type Client = typeof import('./client.js');

async function attempt(
  exec: DaemonExec,
  access: DaemonAccess,
  io: KtxIo,
  signal: AbortSignal | undefined,
): Promise<Attempt> {
  const socket = openSocket(access.endpoint);
  // The daemon answers while the client is loaded, once it has heard the first words. The first turn
  // may be the rest of the present one; in the next one they are said.
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  const client = await import('./client.js');
  const service = new client.PythonService(access, socket);
  try {
    return { exitCode: await run(exec, client, service, io, signal) };
  } catch (thrown) {
    const error = await client.callError(thrown, service, signal);
    const isUnseen = thrown instanceof client.RpcError && !thrown.accepted && !signal?.aborted;
    if (!isUnseen) throw error;
    return { exitCode: undefined, error };
  } finally {
    // Nothing keeps a process alive that has done its work, and closing takes longer than its end.
    setTimeout(() => service.close(), 0).unref();
  }
}

async function run(
  exec: DaemonExec,
  client: Client,
  service: PythonService,
  io: KtxIo,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { code, filename, args, cwd, timeoutMs, session, json } = exec;
  const call: Call = {
    code,
    filename,
    args,
    session,
    cwd: cwd === undefined ? undefined : resolve(cwd),
    timeout_ms: timeoutMs === undefined ? undefined : Math.ceil(timeoutMs),
    form: json ? client.Form.FORM_JSON : client.Form.FORM_REPR,
  };
  if (json) {
    const response = await service.execute(call, signal);
    printLines(io, [jsonOf(response, client)]);
    return exitCodeOf(outcomeOf(response, client));
  }
  for await (const piece of client.pieces(service.stream(call, signal))) {
    if (piece.type === 'response') {
      const outcome = outcomeOf(piece.response, client);
      writeOutcome(outcome, io);
      return exitCodeOf(outcome);
    }
    io[piece.type].write(piece.data);
    // Leaving the loop ends the code, as it would end without the daemon.
    if (io[piece.type].gone === true) return ExitCode.unread;
  }
  throw new KtxError('KTX_EXEC_FAILED', 'The daemon gave no outcome');
}

// The same text as without the daemon; its numbers are the ones that Python wrote.
function jsonOf(response: ExecuteResponse, client: Client): string {
  const { success, stdout, stderr, error, durationMs } = outcomeOf(response, client);
  const members = {
    success: JSON.stringify(success),
    value: success ? client.textOf(response.value) : 'null',
    stdout: JSON.stringify(stdout),
    stderr: JSON.stringify(stderr),
    error: JSON.stringify(error),
    durationMs: JSON.stringify(durationMs),
  };
  return `{${Object.entries(members)
    .map(([key, json]) => `"${key}":${json}`)
    .join(',')}}`;
}

function outcomeOf(response: ExecuteResponse, { failureOf, textOf }: Client): ExecuteOutcome {
  const { success } = response;
  const { kind, message, traceback } = failureOf(response);
  return {
    success,
    value: success ? JSON.parse(textOf(response.value) || 'null') : null,
    stdout: textOf(response.stdout),
    stderr: textOf(response.stderr),
    error: success ? null : { kind, message, traceback },
    durationMs: response.duration_ms,
  };
}
