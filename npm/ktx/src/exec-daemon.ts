// `ktx exec` through the daemon. It is loaded only when there is one to be called.
import { resolve } from 'node:path';
import {
  type Call,
  type ExecuteResponse,
  Form,
  PythonService,
  RpcError,
  callError,
  failureOf,
  pieces,
  textOf,
} from './client.js';
import type { DaemonAccess } from './daemon-types.js';
import { KtxError } from './errors.js';
import type { ExecArgs } from './exec-command.js';
import { exitCodeOf, writeOutcome } from './exec-outcome.js';
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

async function attempt(
  exec: DaemonExec,
  access: DaemonAccess,
  io: KtxIo,
  signal: AbortSignal | undefined,
): Promise<Attempt> {
  const service = new PythonService(access);
  try {
    return { exitCode: await run(exec, service, io, signal) };
  } catch (thrown) {
    const error = await callError(thrown, service, signal);
    const isUnseen = thrown instanceof RpcError && !thrown.accepted && !signal?.aborted;
    if (!isUnseen) throw error;
    return { exitCode: undefined, error };
  } finally {
    service.close();
  }
}

async function run(
  exec: DaemonExec,
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
    form: json ? Form.FORM_JSON : Form.FORM_REPR,
  };
  if (json) {
    const response = await service.execute(call, signal);
    printLines(io, [jsonOf(response)]);
    return exitCodeOf(outcomeOf(response));
  }
  for await (const piece of pieces(service.stream(call, signal))) {
    if (piece.type === 'response') {
      const outcome = outcomeOf(piece.response);
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
function jsonOf(response: ExecuteResponse): string {
  const { success, stdout, stderr, error, durationMs } = outcomeOf(response);
  const members = {
    success: JSON.stringify(success),
    value: success ? textOf(response.value) : 'null',
    stdout: JSON.stringify(stdout),
    stderr: JSON.stringify(stderr),
    error: JSON.stringify(error),
    durationMs: JSON.stringify(durationMs),
  };
  return `{${Object.entries(members)
    .map(([key, json]) => `"${key}":${json}`)
    .join(',')}}`;
}

function outcomeOf(response: ExecuteResponse): ExecuteOutcome {
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
