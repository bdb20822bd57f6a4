// A connection to the daemon that outlives it: a call that a daemon cannot have seen is made again
// to the next one, and no other call ever is. It is a file of its own in the package, which commands
// do without.
import { unlessAborted } from './abort.js';
import { callOf, eventsOf, resultOf } from './calls.js';
import { type PythonService, RpcError, begun, callError } from './client.js';
import type {
  PythonCallOptions,
  PythonCallResult,
  PythonEvent,
  PythonSessionInfo,
} from './connection-types.js';
import { KtxError, abortedError } from './errors.js';
import { PythonSession } from './session.js';
import type { DaemonState } from './daemon-types.js';

/** @internal A daemon that runs, and how it came to that. */
export interface ReachedDaemon {
  status: 'started' | 'reused';
  state: DaemonState;
  service: PythonService;
}

/** @internal Finds the daemon or starts it. */
export type ReachDaemon = (signal?: AbortSignal) => Promise<ReachedDaemon>;

// How long `close` waits for sessions without a name to end.
const CLOSE_MS = 1_000;

/**
 * Python in a daemon, which starts it in milliseconds. Made by {@link PythonRuntime.connect}.
 *
 * Nothing keeps Node alive while no call runs. When the daemon has ended, the next call starts it
 * again; a call that was on its way fails with `KTX_DAEMON_LOST`, so that no code runs twice.
 *
 * @example
 * const python = await runtime.connect();
 * const { value } = await python.execute('sum(upstream)', { upstream: [1, 2, 3] });
 * await python.close();
 */
export class PythonConnection {
  /** Whether the daemon was `started` for this connection or was there, `reused`. */
  readonly status: 'started' | 'reused';
  readonly #reach: ReachDaemon;
  readonly #unnamed = new Set<PythonSession>();
  #daemon: ReachedDaemon;
  #reaching: Promise<ReachedDaemon> | undefined;
  #closed = false;

  /** @internal */
  static async open(reach: ReachDaemon, signal?: AbortSignal): Promise<PythonConnection> {
    return new PythonConnection(reach, await reach(signal));
  }

  private constructor(reach: ReachDaemon, daemon: ReachedDaemon) {
    this.#reach = reach;
    this.#daemon = daemon;
    this.status = daemon.status;
  }

  /** Process of the daemon that is or was used last. */
  get pid(): number {
    return this.#daemon.state.pid;
  }

  /** Where that daemon listens: `unix:/path/to/socket` or `127.0.0.1:port`. */
  get endpoint(): string {
    return this.#daemon.state.endpoint;
  }

  /**
   * Runs code in a Python process of its own. This isolates failures; it is no sandbox.
   *
   * @throws {@link KtxError} `KTX_EXEC_FAILED` and `KTX_EXEC_TIMEOUT`, whose `details` are the
   * failure (`kind`, `message`, `traceback`) and the output so far; `KTX_ABORTED` when `signal`
   * ended it; `KTX_DAEMON_LOST` when the daemon ended meanwhile; `KTX_BUSY`; `KTX_USAGE`; and what
   * starting a daemon throws.
   */
  async execute(code: string, options: PythonCallOptions = {}): Promise<PythonCallResult> {
    const { signal } = options;
    const call = callOf(code, options);
    return resultOf(await this.#run((service) => service.execute(call, signal), signal));
  }

  /**
   * Runs code as {@link execute} does, and yields its output as it comes, and at last its outcome,
   * also when the code failed. The code starts with the first step of the loop; leaving the loop
   * early ends it.
   *
   * @throws {@link KtxError} when there is no outcome.
   */
  async *stream(code: string, options: PythonCallOptions = {}): AsyncGenerator<PythonEvent, void> {
    const { signal } = options;
    const call = callOf(code, options);
    // With the first event it is known that the daemon has seen the call.
    const [service, events] = await this.#run(
      async (it) => [it, await begun(it.stream(call, signal))] as const,
      signal,
    );
    try {
      yield* eventsOf(events);
    } catch (error) {
      throw await this.#failure(error, service, signal);
    }
  }

  /**
   * Opens a session, a Python process whose variables and imports stay from call to call, or finds
   * the open one of that name, whoever opened it.
   *
   * @param name - 1 to 128 characters. Without one the session is this connection's own and ends
   * with it.
   * @throws {@link KtxError} `KTX_BUSY` when too many are open, and as {@link execute} does.
   */
  async session(name?: string): Promise<PythonSession> {
    if (name === '') throw new KtxError('KTX_USAGE', 'The name of a session is not empty');
    const opened = await this.#run(async (service) => ({
      service,
      key: await service.openSession(name ?? ''),
    }));
    const session = new PythonSession(opened.key, opened.service, {
      check: () => this.#checkOpen(),
      isCurrent: (service) => service === this.#daemon.service,
      failure: (error, signal) => this.#failure(error, opened.service, signal),
      closed: () => this.#unnamed.delete(session),
    });
    if (name === undefined) this.#unnamed.add(session);
    return session;
  }

  /** Lists the open sessions of the daemon, by name. */
  async sessions(): Promise<PythonSessionInfo[]> {
    const sessions = await this.#run((service) => service.sessions());
    return sessions.map(({ name, calls, busy }) => ({ name, calls, busy }));
  }

  /**
   * Ends the calls of this connection and its sessions without a name. The daemon, and sessions
   * with a name, go on for others.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    const sessions = [...this.#unnamed];
    this.#closed = true;
    const signal = AbortSignal.timeout(CLOSE_MS);
    await Promise.allSettled(sessions.map((session) => session.end(signal)));
    this.#daemon.service.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run<T>(work: (service: PythonService) => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.#checkOpen();
    const { service } = this.#daemon;
    try {
      return await work(service);
    } catch (error) {
      if (!(error instanceof RpcError) || error.accepted || signal?.aborted || this.#closed) {
        throw await this.#failure(error, service, signal);
      }
    }
    const next = await this.#replace(service, signal);
    try {
      return await work(next);
    } catch (error) {
      throw await this.#failure(error, next, signal);
    }
  }

  // One start for all the calls that found `gone` gone.
  async #replace(gone: PythonService, signal: AbortSignal | undefined): Promise<PythonService> {
    if (this.#daemon.service !== gone) return this.#daemon.service;
    this.#reaching ??= this.#reach().finally(() => {
      this.#reaching = undefined;
    });
    const reached = await unlessAborted(this.#reaching, signal, (aborted) =>
      abortedError(aborted, 'The execution'),
    );
    if (reached.service.access.token === gone.access.token) {
      // It is there after all, with other calls and sessions of this connection.
      reached.service.close();
    } else if (this.#daemon.service === gone) {
      gone.close();
      this.#daemon = reached;
      if (this.#closed) reached.service.close();
    }
    this.#checkOpen();
    return this.#daemon.service;
  }

  async #failure(
    error: unknown,
    service: PythonService,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    return this.#closed ? closedError(error) : await callError(error, service, signal);
  }

  #checkOpen(): void {
    if (this.#closed) throw new KtxError('KTX_USAGE', 'The connection is closed');
  }
}

function closedError(cause: unknown): KtxError {
  return new KtxError('KTX_ABORTED', 'The connection was closed during the call', { cause });
}
