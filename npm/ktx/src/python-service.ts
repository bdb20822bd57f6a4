// The methods of a daemon as functions: messages in, messages out, and an end to a call, and to all
// that it started, when its signal is aborted.
import type { Socket } from 'node:net';
import { PbfReader, PbfWriter } from 'pbf';
import { onAbort } from './abort.js';
import type { DaemonAccess } from './daemon-types.js';
import { Channel, PREFIX_BYTES, setPrefix } from './grpc.js';
import {
  DomainPluginService,
  type ExecuteEvent,
  type ExecuteRequest,
  type ExecuteResponse,
  Python,
  type Session,
  readCancelResponse,
  readExecuteEvent,
  readExecuteResponse,
  readListSessionsResponse,
  readSession,
  writeCancelRequest,
  writeCloseSessionRequest,
  writeExecuteRequest,
  writeOpenSessionRequest,
} from './generated/protocol.js';

export { Form } from './generated/protocol.js';
export type { ExecuteEvent, ExecuteResponse, Session };

/** What to run; what is absent or `undefined` is the daemon's default. */
export type Call = { [K in keyof ExecuteRequest]?: ExecuteRequest[K] | undefined };

// `grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING`, as field 1.
const HEALTH_CHECK = '/grpc.health.v1.Health/Check';
const STATUS_FIELD = 1;
const SERVING = 1;

// How long a daemon may take to hear that a call has to end, and then to end it, before its client no
// longer waits for it.
const HEARING_MS = 1_000;
const ENDING_MS = 5_000;

// Beyond this a message is not written into the memory of the one before.
const KEPT_BYTES = 1 << 16;

/** A daemon that is called. */
export class PythonService {
  readonly #channel: Channel;
  // Names of calls are unique among all clients of the daemon.
  readonly #name = `${process.pid}-${Math.random().toString(36).slice(2)}`;
  #named = 0;

  /** @param socket - One to the daemon that is being connected already. */
  constructor(access: DaemonAccess, socket?: Socket) {
    this.#channel = new Channel(access, socket);
  }

  /** Where it is. */
  get access(): DaemonAccess {
    return this.#channel.access;
  }

  /** Whether there is a connection that takes calls. */
  get isOpen(): boolean {
    return this.#channel.isOpen;
  }

  /** Lets the system say what became of the connection. */
  async look(): Promise<void> {
    await this.#channel.look();
  }

  /** Runs code. After an abort it settles when the code has ended. */
  async execute(call: Call, signal?: AbortSignal): Promise<ExecuteResponse> {
    const { Execute } = Python;
    if (signal === undefined) {
      const reply = await this.#channel.unary(Execute, framed(writeExecuteRequest, call));
      return readExecuteResponse(new PbfReader(reply));
    }
    const ending = new Ending(this, signal, this.#newName());
    try {
      const message = framed(writeExecuteRequest, { ...call, call_id: ending.callId });
      const reply = await this.#channel.unary(Execute, message, ending.signal);
      return readExecuteResponse(new PbfReader(reply));
    } finally {
      ending.over();
    }
  }

  /**
   * Runs code and yields its output as it comes, and its outcome. After an abort it throws when the
   * code has ended. Leaving early ends the code.
   */
  async *stream(call: Call, signal?: AbortSignal): AsyncGenerator<ExecuteEvent, void> {
    const ending = new Ending(this, signal, this.#newName());
    try {
      const message = framed(writeExecuteRequest, { ...call, call_id: ending.callId });
      const replies = this.#channel.stream(Python.ExecuteStream, message, ending.signal);
      for await (const reply of replies) yield readExecuteEvent(new PbfReader(reply));
    } finally {
      ending.over();
    }
  }

  /** Ends a call; returns whether there was one of that name. */
  async cancel(callId: string): Promise<boolean> {
    const message = framed(writeCancelRequest, { call_id: callId });
    const reply = await this.#channel.unary(Python.Cancel, message);
    return readCancelResponse(new PbfReader(reply)).found;
  }

  /** Opens a session or finds the open one; one with a new name if `name` is empty. */
  async openSession(name: string): Promise<Session> {
    const message = framed(writeOpenSessionRequest, { name });
    return readSession(new PbfReader(await this.#channel.unary(Python.OpenSession, message)));
  }

  /** Ends a session if it is the one with this id. */
  async closeSession(name: string, id: string, signal?: AbortSignal): Promise<void> {
    const message = framed(writeCloseSessionRequest, { name, id });
    await this.#channel.unary(Python.CloseSession, message, signal);
  }

  /** The open sessions. */
  async sessions(): Promise<Session[]> {
    const reply = await this.#channel.unary(Python.ListSessions, empty());
    return readListSessionsResponse(new PbfReader(reply)).sessions;
  }

  /** Asks whether it serves; throws if not. */
  async health(signal: AbortSignal): Promise<void> {
    const reader = new PbfReader(await this.#channel.unary(HEALTH_CHECK, empty(), signal));
    if (reader.nextField() === STATUS_FIELD && reader.readVarint() === SERVING) return;
    throw new Error('The daemon does not serve');
  }

  /** Asks it to end. */
  async shutdown(signal: AbortSignal): Promise<void> {
    await this.#channel.unary(DomainPluginService.Shutdown, empty(), signal);
  }

  /** Ends the connection and every call on it. */
  close(): void {
    this.#channel.close();
  }

  #newName(): string {
    this.#named += 1;
    return `${this.#name}-${this.#named}`;
  }
}

/** The end of a call after an abort: the daemon is asked, and if it cannot, the call is cut off. */
class Ending {
  readonly callId: string;
  readonly #signal: AbortSignal | undefined;
  readonly #abort: () => void;
  readonly #cut = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(service: PythonService, signal: AbortSignal | undefined, callId: string) {
    this.callId = callId;
    this.#signal = signal;
    const cut = (): void => this.#cut.abort(signal?.reason);
    this.#abort = () => {
      if (!service.isOpen) return cut();
      this.#timer = setTimeout(cut, HEARING_MS);
      service.cancel(callId).then((found) => {
        clearTimeout(this.#timer);
        if (!found) return cut();
        if (!this.#isOver) this.#timer = setTimeout(cut, ENDING_MS);
      }, cut);
    };
    if (signal?.aborted) cut();
    else onAbort(signal, this.#abort);
  }

  /** Aborted when the daemon is not to be waited for. */
  get signal(): AbortSignal {
    return this.#cut.signal;
  }

  over(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#abort);
  }
}

let scratch = new PbfWriter(Buffer.allocUnsafe(KEPT_BYTES));

/** A message with the bytes before it. */
function framed<M>(write: (message: M, writer: PbfWriter) => void, message: M): Buffer {
  scratch.pos = PREFIX_BYTES;
  scratch.length = scratch.buf.length;
  write(message, scratch);
  const bytes = Buffer.from(scratch.finish());
  if (bytes.length > KEPT_BYTES) scratch = new PbfWriter(Buffer.allocUnsafe(KEPT_BYTES));
  return setPrefix(bytes);
}

function empty(): Buffer {
  return setPrefix(Buffer.alloc(PREFIX_BYTES));
}
