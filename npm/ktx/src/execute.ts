// The one place that starts `ktx-daemon execute`: one request on its stdin, one outcome on its
// stdout, and an end to it when the caller no longer wants the answer.
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { KtxError, abortedError, isRecord } from './errors.js';
import { parseExact } from './exact-json.js';
import type { ExecuteOutcome } from './outcome.js';

/** One execution. */
export interface ExecuteRequest {
  /** Absolute path of `ktx-daemon`. */
  daemonExecutable: string;
  code: string;
  /** JSON that the code sees as `upstream`. */
  upstream?: unknown;
  /** Milliseconds after which the code is ended. Default: no limit. */
  timeoutMs?: number | undefined;
  /** Working directory of the code. Default: this process's. */
  cwd?: string | undefined;
  /** `sys.argv[1:]`. Default: none. */
  args?: string[] | undefined;
  /** Name in tracebacks. */
  filename?: string | undefined;
  /** How the value travels. Default: `json`. */
  result?: 'json' | 'repr' | undefined;
  /**
   * Called with output as it comes. The outcome then has none. Default: the outcome has all of it.
   */
  onOutput?: ((type: 'stdout' | 'stderr', text: string) => void) | undefined;
  /** Environment of the code. Default: `process.env`. */
  env?: Record<string, string | undefined> | undefined;
  /** Ends the code. */
  signal?: AbortSignal | undefined;
  /**
   * Where `ktx-daemon` is by now, `undefined` if nowhere. Asked once, when no code was run because
   * an installation removed the environment after `daemonExecutable` was read. Default: nowhere.
   */
  findDaemon?: (() => Promise<string | undefined>) | undefined;
}

/** The outcome, and the JSON text that it was read from. */
export interface Executed {
  outcome: ExecuteOutcome;
  json: string;
}

// The daemon enforces the time limit; this is for a daemon that no longer can.
const TIMEOUT_GRACE_MS = 10_000;
// From asking the daemon to end its workers to ending it.
const KILL_AFTER_MS = 2_000;
const STDERR_KEPT_CHARS = 16_384;
const BAD_REQUEST_STATUS = 2;
const ENVIRONMENT_GONE_STATUS = 3;
// How the last line begins of a daemon that streams; the outcome is behind it.
const OUTCOME = '{"outcome":';

/**
 * Runs code and returns what came of it, also when the code failed.
 *
 * @throws {@link KtxError} `KTX_USAGE` for a request that the daemon refuses, `KTX_ABORTED`,
 * `KTX_RUNTIME_MISSING` when the daemon or its environment is gone, and `KTX_EXEC_FAILED` or
 * `KTX_EXEC_TIMEOUT` when there is no outcome.
 */
export async function execute(request: ExecuteRequest): Promise<Executed> {
  const { signal, timeoutMs } = request;
  const ended = await runWhereItIs(request);
  if (signal?.aborted) throw abortedError(signal, 'The execution');
  if (ended.startError !== undefined) throw startFailure(ended.daemonExecutable, ended.startError);
  if (ended.status === ENVIRONMENT_GONE_STATUS) {
    throw new KtxError(
      'KTX_RUNTIME_MISSING',
      `The environment of ${ended.daemonExecutable} is gone; no code was run`,
      { hint: 'Run: ktx runtime install --yes', details: { stderr: ended.stderr } },
    );
  }
  if (ended.overdue) {
    throw new KtxError(
      'KTX_EXEC_TIMEOUT',
      `\`ktx-daemon execute\` gave no answer ${TIMEOUT_GRACE_MS} ms after the time limit of ${timeoutMs} ms`,
      { details: { kind: 'timeout', stderr: ended.stderr } },
    );
  }
  if (ended.status === BAD_REQUEST_STATUS) {
    throw new KtxError('KTX_USAGE', ended.stderr.trim() || 'The request was refused');
  }
  const outcome = ended.status === 0 ? readOutcome(ended.outcomeJson) : undefined;
  if (outcome === undefined) {
    const how = ended.killedBy === null ? `exit status ${ended.status}` : `signal ${ended.killedBy}`;
    // What the daemon knows to be wrong is seldom mended by another installation.
    const said = /^error: (.+)$/m.exec(ended.stderr)?.[1];
    const what = `\`ktx-daemon execute\` ended with ${how} and no outcome`;
    throw new KtxError('KTX_EXEC_FAILED', said === undefined ? what : `${what}: ${said}`, {
      hint: said === undefined ? 'Run: ktx runtime install --force' : undefined,
      details: { status: ended.status, signal: ended.killedBy, stderr: ended.stderr },
    });
  }
  return { outcome, json: ended.outcomeJson };
}

interface Ended {
  daemonExecutable: string;
  /** Why there was no process. */
  startError?: NodeJS.ErrnoException;
  status: number | null;
  killedBy: NodeJS.Signals | null;
  /** What should be the outcome. */
  outcomeJson: string;
  stderr: string;
  overdue: boolean;
}

async function runWhereItIs(request: ExecuteRequest): Promise<Ended> {
  const { daemonExecutable, findDaemon, signal } = request;
  if (signal?.aborted) throw abortedError(signal, 'The execution');
  const ended = await runDaemon(request);
  // Only these two say for certain that no code was run, which must not run twice.
  const mayRunAgain = ended.startError !== undefined || ended.status === ENVIRONMENT_GONE_STATUS;
  if (!mayRunAgain || signal?.aborted) return ended;
  const found = await findDaemon?.();
  if (found === undefined || found === daemonExecutable || signal?.aborted) return ended;
  return await runDaemon({ ...request, daemonExecutable: found });
}

function runDaemon(request: ExecuteRequest): Promise<Ended> {
  const { daemonExecutable, env, signal, timeoutMs, onOutput } = request;
  return new Promise((settle) => {
    // An environment that ktx made has a lease, except while it is made and while it is removed.
    const flags = ['--leased', ...(onOutput === undefined ? [] : ['--stream'])];
    const child = spawn(daemonExecutable, ['execute', ...flags], {
      env: env ?? process.env,
      stdio: ['pipe', 'pipe', 'pipe'],
      windowsHide: true,
    });
    const printed = onOutput === undefined ? new WholeText() : new Lines(onOutput);
    let stderr = '';
    let overdue = false;
    let killTimer: NodeJS.Timeout | undefined;
    const end = (): void => {
      child.kill('SIGTERM');
      killTimer ??= setTimeout(() => {
        child.kill('SIGKILL');
        // A descendant that kept the pipes open must not keep the caller waiting.
        child.stdout.destroy();
        child.stderr.destroy();
      }, KILL_AFTER_MS);
    };
    const overdueTimer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            overdue = true;
            end();
          }, timeoutMs + TIMEOUT_GRACE_MS);
    const release = (): void => {
      clearTimeout(killTimer);
      clearTimeout(overdueTimer);
      signal?.removeEventListener('abort', end);
    };
    signal?.addEventListener('abort', end, { once: true });
    child.stdout.setEncoding('utf8').on('data', (text: string) => printed.add(text));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr = (stderr + chunk).slice(-STDERR_KEPT_CHARS);
    });
    // A daemon that ends before it has read everything says why by its status.
    child.stdin.on('error', () => {});
    child.stdin.end(requestJson(request));
    let startError: NodeJS.ErrnoException | undefined;
    const settleAs = (status: number | null, killedBy: NodeJS.Signals | null): void => {
      release();
      settle({
        daemonExecutable,
        ...(startError === undefined ? {} : { startError }),
        status,
        killedBy,
        outcomeJson: printed.outcomeJson,
        stderr,
        overdue,
      });
    };
    child.on('error', (error: NodeJS.ErrnoException) => {
      // A process that could not be signalled is one, and its end is yet to come.
      if (child.pid !== undefined) return;
      startError = error;
      settleAs(null, null);
    });
    child.once('close', settleAs);
  });
}

/** What a daemon prints that streams nothing: the outcome. */
class WholeText {
  readonly #texts: string[] = [];

  get outcomeJson(): string {
    return this.#texts.join('').trimEnd();
  }

  add(text: string): void {
    this.#texts.push(text);
  }
}

/** What a daemon prints that streams: an object of one key on each line. */
class Lines {
  outcomeJson = '';
  readonly #onOutput: NonNullable<ExecuteRequest['onOutput']>;
  #unfinished: string[] = [];

  constructor(onOutput: NonNullable<ExecuteRequest['onOutput']>) {
    this.#onOutput = onOutput;
  }

  add(text: string): void {
    const lines = text.split('\n');
    const rest = lines.pop() ?? '';
    for (const line of lines) {
      this.#read(this.#unfinished.join('') + line);
      this.#unfinished = [];
    }
    if (rest !== '') this.#unfinished.push(rest);
  }

  #read(line: string): void {
    if (line.startsWith(OUTCOME)) {
      this.outcomeJson = line.slice(OUTCOME.length, -1);
      return;
    }
    const piece = readJson(line);
    for (const type of ['stdout', 'stderr'] as const) {
      const text = piece?.[type];
      if (typeof text === 'string') this.#onOutput(type, text);
    }
  }
}

function requestJson(request: ExecuteRequest): string {
  const { code, upstream, timeoutMs, cwd, args, filename, result } = request;
  return JSON.stringify({
    code,
    upstream,
    timeout_ms: timeoutMs === undefined ? undefined : Math.ceil(timeoutMs),
    cwd: cwd === undefined ? undefined : resolve(cwd),
    args,
    filename,
    result,
  });
}

function startFailure(daemonExecutable: string, cause: NodeJS.ErrnoException): KtxError {
  return cause.code === 'ENOENT'
    ? new KtxError('KTX_RUNTIME_MISSING', `Missing ktx-daemon executable: ${daemonExecutable}`, {
        hint: 'Run: ktx runtime install --yes',
        cause,
      })
    : new KtxError('KTX_EXEC_FAILED', `Cannot run ${daemonExecutable}: ${cause.message}`, {
        hint: 'Run: ktx runtime install --force',
        cause,
      });
}

function readOutcome(text: string): ExecuteOutcome | undefined {
  const outcome = readJson(text);
  return typeof outcome?.['success'] === 'boolean'
    ? (outcome as unknown as ExecuteOutcome)
    : undefined;
}

function readJson(text: string): Record<string, unknown> | undefined {
  try {
    const value = parseExact(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
