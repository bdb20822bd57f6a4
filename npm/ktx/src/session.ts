// A session as its callers hold it: bound to the very process that was opened, so that a call never
// meets variables that are silently gone.
import { type SessionKey, callOf, eventsOf, resultOf } from './calls.js';
import { type PythonService, RpcError, Status, begun } from './client.js';
import type { PythonCallOptions, PythonCallResult, PythonEvent } from './connection-types.js';
import { KtxError } from './errors.js';

/** @internal What a session asks of its connection. */
export interface SessionHost {
  /** Throws if the connection is closed. */
  check(): void;
  /** Whether this is still the daemon of the connection. */
  isCurrent(service: PythonService): boolean;
  /** The error for a call that has no outcome. */
  failure(error: unknown, signal: AbortSignal | undefined): Promise<unknown>;
  /** Told when the session was closed. */
  closed(): void;
}

/**
 * A Python process that keeps its variables and imports from call to call. Its calls run one after
 * the other. Made by {@link PythonConnection.session}.
 *
 * A session is gone when it is closed, when a call in it was ended by a timeout, a limit or an
 * abort, when its process or the daemon has ended, and when it was idle for long. Every later call
 * then fails with `KTX_SESSION_LOST`.
 */
export class PythonSession {
  /** The name under which any client of the daemon finds it. */
  readonly name: string;
  readonly #id: string;
  readonly #service: PythonService;
  readonly #host: SessionHost;
  #closed = false;

  /** @internal */
  constructor({ name, id }: SessionKey, service: PythonService, host: SessionHost) {
    this.name = name;
    this.#id = id;
    this.#service = service;
    this.#host = host;
  }

  /**
   * Runs code in the session.
   *
   * @throws {@link KtxError} `KTX_SESSION_LOST`, and as {@link PythonConnection.execute} does.
   */
  async execute(code: string, options: PythonCallOptions = {}): Promise<PythonCallResult> {
    const { signal } = options;
    const call = callOf(code, options, { name: this.name, id: this.#id });
    return resultOf(await this.#run(() => this.#service.execute(call, signal), signal));
  }

  /**
   * Runs code in the session and yields its output as it comes, and at last its outcome, as
   * {@link PythonConnection.stream} does. Leaving the loop early ends the session too.
   *
   * @throws {@link KtxError} `KTX_SESSION_LOST`, and whatever leaves no outcome.
   */
  async *stream(code: string, options: PythonCallOptions = {}): AsyncGenerator<PythonEvent, void> {
    const { signal } = options;
    const call = callOf(code, options, { name: this.name, id: this.#id });
    const events = await this.#run(() => begun(this.#service.stream(call, signal)), signal);
    try {
      yield* eventsOf(events);
    } catch (error) {
      throw await this.#failure(error, signal);
    }
  }

  /** Ends the session and everything that it started. */
  async close(): Promise<void> {
    await this.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @internal Ends the session, waiting no longer than `signal` says; a lost one has ended. */
  async end(signal?: AbortSignal): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#host.closed();
    try {
      await this.#service.closeSession(this.name, this.#id, signal);
    } catch (error) {
      if (!(error instanceof RpcError) || error.status !== Status.unavailable) {
        throw await this.#host.failure(error, undefined);
      }
    }
  }

  async #run<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    this.#host.check();
    if (this.#closed) throw new KtxError('KTX_USAGE', `The session \`${this.name}\` is closed`);
    // Another daemon cannot have it.
    if (!this.#host.isCurrent(this.#service)) throw this.#lost();
    try {
      return await work();
    } catch (error) {
      const isUnseen = error instanceof RpcError && !error.accepted && !signal?.aborted;
      if (!isUnseen) throw await this.#failure(error, signal);
    }
    // The connection may have ended without the daemon. If that has ended too, so has the session.
    try {
      return await work();
    } catch (error) {
      const isUnseen = error instanceof RpcError && !error.accepted && !signal?.aborted;
      throw isUnseen ? this.#lost(error) : await this.#failure(error, signal);
    }
  }

  async #failure(error: unknown, signal: AbortSignal | undefined): Promise<unknown> {
    if (error instanceof RpcError && error.status === Status.failedPrecondition) {
      return this.#lost(error);
    }
    return await this.#host.failure(error, signal);
  }

  #lost(cause?: unknown): KtxError {
    return new KtxError(
      'KTX_SESSION_LOST',
      `The session \`${this.name}\` is gone, and its variables with it`,
      { details: { session: this.name }, ...(cause === undefined ? {} : { cause }) },
    );
  }
}
