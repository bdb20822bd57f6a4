// One HTTP/2 connection (RFC 9113) to a server of gRPC, over a socket. Node's own client takes a
// third of the time of `ktx exec` to load, and most of the time of a call in a session; this one
// does what calls need and leaves out priorities, pushes and header tables.
import type { Socket } from 'node:net';
import { type Fields, readFields } from './hpack.js';
import {
  ErrorCode,
  Flag,
  Frame,
  HEAD_BYTES,
  Setting,
  head,
  reset,
  unexpected,
  unpadded,
  windowUpdate,
} from './http2-frames.js';
import { CONNECTION_WINDOW, DEFAULT_WINDOW, STREAM_WINDOW } from './http2-socket.js';

/** How a stream ended. */
export type StreamEnd =
  /** The server said all that it had to say. */
  | { kind: 'done' }
  /** The server ended it with an error code of HTTP/2. */
  | { kind: 'reset'; code: number }
  /** The server has not begun with it, and will not. */
  | { kind: 'refused' }
  /** The connection ended. */
  | { kind: 'lost'; reason: Error };

/** Who is told what comes on a stream. */
export interface Receiver {
  onFields(fields: Fields): void;
  onData(bytes: Buffer): void;
  /** The last that is told. */
  onEnd(end: StreamEnd): void;
}

const LARGEST_WINDOW = 2 ** 31 - 1;
const DEFAULT_FRAME_BYTES = 16_384;
const MAX_FIELD_BYTES = 65_536;
const LAST_STREAM_ID = 2 ** 31 - 1;

const PING_BYTES = 8;
// From connecting to the first words of the server.
const CONNECT_MS = 2_000;
// How often a server with work to do is asked for a sign of life, and how long it has for it.
const PING_MS = 10_000;
// A connection that was idle this long may have been closed while this process was busy.
const FRESH_MS = 5;

/** One request and what comes of it. */
export class Stream {
  readonly receiver: Receiver;
  readonly block: Buffer;
  /** 0 until the server may have it. */
  id = 0;
  /** What is left of the request. */
  unsent: Buffer | undefined;
  /** How much of it the server lets be sent. */
  window = 0;
  /** What was read and is not yet said to have been. */
  read = 0;

  constructor(block: Buffer, message: Buffer, receiver: Receiver) {
    this.block = block;
    this.unsent = message;
    this.receiver = receiver;
  }
}

/** A connection. */
export class Link {
  readonly #socket: Socket;
  readonly #pulse: NodeJS.Timeout;
  readonly #streams = new Map<number, Stream>();
  // Streams that the server lets nobody begin yet, and those that it lets send nothing.
  readonly #waiting: Stream[] = [];
  readonly #blocked = new Set<Stream>();
  #open = false;
  #failure: Error | undefined;
  #greeted = (): void => {};
  #nextId = 1;
  #maxStreams = Number.POSITIVE_INFINITY;
  #firstWindow = DEFAULT_WINDOW;
  #window = DEFAULT_WINDOW;
  #frameBytes = DEFAULT_FRAME_BYTES;
  #read = 0;
  #unread: Buffer | undefined;
  #fields: { id: number; flags: number; parts: Buffer[]; bytes: number } | undefined;
  #out: Buffer[] = [];
  #pinged = false;
  #usedAt = now();

  /**
   * Goes on with a socket on which the client's first words were said; the link is open when the
   * server has said its own.
   */
  static async open(socket: Socket): Promise<Link> {
    const link = new Link(socket);
    await link.#greeting();
    return link;
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#socket.on('data', (chunk) => this.#onData(chunk));
    this.#socket.on('error', (error) => this.end(error));
    this.#socket.on('end', () => this.end(closedByServer()));
    this.#socket.on('close', () => this.end(closedByServer()));
    this.#pulse = setInterval(() => this.#ping(), PING_MS).unref();
  }

  /** Whether it takes requests. */
  get open(): boolean {
    return this.#open;
  }

  /** Whether it was in use just now, so that its loss would have been seen. */
  get fresh(): boolean {
    return this.#isBusy || now() - this.#usedAt < FRESH_MS;
  }

  /** Lets the system say what became of the socket while this process was busy. */
  async look(): Promise<void> {
    // The first turn may be the rest of the present one, which has asked the system already.
    await new Promise(setImmediate);
    await new Promise(setImmediate);
  }

  /**
   * Sends a request: a block of header fields, and a message.
   *
   * @throws if the link takes none any more.
   */
  request(block: Buffer, message: Buffer, receiver: Receiver): Stream {
    if (!this.#open) throw this.#failure ?? closedByServer();
    const stream = new Stream(block, message, receiver);
    if (!this.#isBusy) this.#socket.ref();
    if (this.#streams.size < this.#maxStreams) this.#begin(stream);
    else this.#waiting.push(stream);
    return stream;
  }

  /** Ends a stream; its receiver is told nothing more. */
  cancel(stream: Stream): void {
    if (stream.id === 0) {
      const at = this.#waiting.indexOf(stream);
      if (at !== -1) this.#waiting.splice(at, 1);
      return this.#release();
    }
    if (this.#streams.get(stream.id) !== stream) return;
    this.#send(reset(stream.id, ErrorCode.cancel));
    this.#forget(stream);
  }

  /** Says that bytes of a stream were read, so that the server may send as many again. */
  consumed(stream: Stream, bytes: number): void {
    stream.read += bytes;
    if (stream.read < STREAM_WINDOW / 2 || !this.#streams.has(stream.id)) return;
    this.#send(windowUpdate(stream.id, stream.read));
    stream.read = 0;
  }

  /** Ends the connection and every stream on it. */
  end(reason: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = reason;
    this.#open = false;
    clearInterval(this.#pulse);
    this.#socket.destroy();
    const lost = [...this.#streams.values()];
    this.#streams.clear();
    for (const { receiver } of lost) receiver.onEnd({ kind: 'lost', reason });
    this.#refuseWaiting();
    this.#greeted();
  }

  get #isBusy(): boolean {
    return this.#streams.size + this.#waiting.length > 0;
  }

  #greeting(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.end(new Error(`The server did not answer within ${CONNECT_MS} ms`));
      }, CONNECT_MS);
      this.#greeted = () => {
        clearTimeout(timer);
        this.#greeted = () => {};
        if (this.#failure !== undefined) return reject(this.#failure);
        this.#open = true;
        this.#socket.unref();
        resolve();
      };
      if (this.#socket.destroyed) this.end(this.#socket.errored ?? closedByServer());
    });
  }

  #begin(stream: Stream): void {
    stream.id = this.#nextId;
    this.#nextId += 2;
    if (this.#nextId > LAST_STREAM_ID) this.#open = false;
    stream.window = this.#firstWindow;
    this.#streams.set(stream.id, stream);
    this.#send(head(stream.block.length, Frame.headers, Flag.endHeaders, stream.id), stream.block);
    this.#pump(stream);
  }

  // Sends as much of a request as the server lets.
  #pump(stream: Stream): void {
    while (stream.unsent !== undefined) {
      const { unsent } = stream;
      const bytes = Math.min(unsent.length, stream.window, this.#window, this.#frameBytes);
      if (bytes <= 0 && unsent.length > 0) {
        this.#blocked.add(stream);
        return;
      }
      const isLast = bytes === unsent.length;
      const flags = isLast ? Flag.endStream : 0;
      this.#send(head(bytes, Frame.data, flags, stream.id), unsent.subarray(0, bytes));
      stream.window -= bytes;
      this.#window -= bytes;
      stream.unsent = isLast ? undefined : unsent.subarray(bytes);
    }
  }

  #forget(stream: Stream): void {
    this.#streams.delete(stream.id);
    this.#blocked.delete(stream);
    const next = this.#streams.size < this.#maxStreams ? this.#waiting.shift() : undefined;
    if (next !== undefined) this.#begin(next);
    this.#release();
  }

  #release(): void {
    this.#usedAt = now();
    if (this.#isBusy) return;
    // Nobody waits for an idle connection.
    this.#socket.unref();
    if (!this.#open) this.end(closedByServer());
  }

  #finish(stream: Stream, end: StreamEnd): void {
    // The rest of a request that was answered already.
    if (stream.unsent !== undefined && end.kind === 'done') {
      this.#send(reset(stream.id, ErrorCode.noError));
    }
    this.#forget(stream);
    stream.receiver.onEnd(end);
  }

  #refuseWaiting(): void {
    for (const { receiver } of this.#waiting.splice(0)) receiver.onEnd({ kind: 'refused' });
  }

  #send(...buffers: Buffer[]): void {
    // What is sent in one go of JavaScript goes to the system in one call.
    if (this.#out.length === 0) queueMicrotask(() => this.#flush());
    this.#out.push(...buffers);
  }

  #flush(): void {
    const buffers = this.#out;
    this.#out = [];
    if (this.#failure !== undefined) return;
    this.#socket.cork();
    for (const buffer of buffers) this.#socket.write(buffer);
    this.#socket.uncork();
  }

  #onData(chunk: Buffer): void {
    const bytes = this.#unread === undefined ? chunk : Buffer.concat([this.#unread, chunk]);
    let at = 0;
    try {
      while (bytes.length - at >= HEAD_BYTES) {
        const length = bytes.readUIntBE(at, 3);
        if (length > DEFAULT_FRAME_BYTES) throw new Error('The server sent a frame that is too large');
        const start = at + HEAD_BYTES;
        if (bytes.length < start + length) break;
        const id = bytes.readUInt32BE(at + 5) & LAST_STREAM_ID;
        const payload = bytes.subarray(start, start + length);
        this.#onFrame(bytes[at + 3] as number, bytes[at + 4] as number, id, payload);
        at = start + length;
      }
      this.#unread = at === bytes.length ? undefined : bytes.subarray(at);
    } catch (error) {
      this.end(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #onFrame(type: number, flags: number, id: number, payload: Buffer): void {
    if (this.#fields !== undefined && type !== Frame.continuation) throw unexpected();
    switch (type) {
      case Frame.data:
        return this.#onDataFrame(flags, id, payload);
      case Frame.headers:
        return this.#onHeaders(flags, id, payload);
      case Frame.continuation:
        return this.#onFieldBytes(flags, id, payload);
      case Frame.resetStream:
        return this.#onReset(id, payload.readUInt32BE(0));
      case Frame.settings:
        return this.#onSettings(flags, payload);
      case Frame.ping:
        if ((flags & Flag.ack) !== 0) this.#pinged = false;
        else this.#send(head(payload.length, Frame.ping, Flag.ack, 0), payload);
        return;
      case Frame.goAway:
        return this.#onGoAway(payload.readUInt32BE(0) & LAST_STREAM_ID);
      case Frame.windowUpdate:
        return this.#onWindowUpdate(id, payload.readUInt32BE(0) & LARGEST_WINDOW);
      case Frame.pushPromise:
        throw unexpected();
      default:
        // Frames that are not known have no meaning for this side.
    }
  }

  #onDataFrame(flags: number, id: number, payload: Buffer): void {
    this.#read += payload.length;
    if (this.#read >= CONNECTION_WINDOW / 2) {
      this.#send(windowUpdate(0, this.#read));
      this.#read = 0;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    const bytes = unpadded(flags, payload);
    // Padding takes room, and nobody reads it.
    stream.read += payload.length - bytes.length;
    if (bytes.length > 0) stream.receiver.onData(bytes);
    if ((flags & Flag.endStream) !== 0) this.#finish(stream, { kind: 'done' });
  }

  #onHeaders(flags: number, id: number, payload: Buffer): void {
    const fields = unpadded(flags, payload);
    const priorityBytes = (flags & Flag.priority) === 0 ? 0 : 5;
    this.#fields = { id, flags, parts: [], bytes: 0 };
    this.#onFieldBytes(flags, id, fields.subarray(priorityBytes));
  }

  #onFieldBytes(flags: number, id: number, bytes: Buffer): void {
    const fields = this.#fields;
    if (fields === undefined || fields.id !== id) throw unexpected();
    fields.parts.push(bytes);
    fields.bytes += bytes.length;
    if (fields.bytes > MAX_FIELD_BYTES) throw new Error('The server sent too many header fields');
    if ((flags & Flag.endHeaders) === 0) return;
    this.#fields = undefined;
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.receiver.onFields(readFields(Buffer.concat(fields.parts)));
    if ((fields.flags & Flag.endStream) !== 0) this.#finish(stream, { kind: 'done' });
  }

  #onReset(id: number, code: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#finish(stream, code === ErrorCode.refusedStream ? { kind: 'refused' } : { kind: 'reset', code });
  }

  #onSettings(flags: number, payload: Buffer): void {
    if ((flags & Flag.ack) !== 0) return;
    for (let at = 0; at + 6 <= payload.length; at += 6) {
      const value = payload.readUInt32BE(at + 2);
      switch (payload.readUInt16BE(at)) {
        case Setting.maxConcurrentStreams:
          this.#maxStreams = value;
          break;
        case Setting.maxFrameSize:
          this.#frameBytes = value;
          break;
        case Setting.initialWindowSize:
          for (const stream of this.#streams.values()) stream.window += value - this.#firstWindow;
          this.#firstWindow = value;
          break;
        default:
      }
    }
    this.#send(head(0, Frame.settings, Flag.ack, 0));
    this.#pumpBlocked();
    this.#greeted();
  }

  #onGoAway(lastId: number): void {
    this.#open = false;
    const unseen = [...this.#streams.values()].filter(({ id }) => id > lastId);
    for (const stream of unseen) this.#finish(stream, { kind: 'refused' });
    this.#refuseWaiting();
    if (!this.#isBusy) this.end(closedByServer());
  }

  #onWindowUpdate(id: number, bytes: number): void {
    const stream = this.#streams.get(id);
    if (id === 0) this.#window += bytes;
    else if (stream !== undefined) stream.window += bytes;
    this.#pumpBlocked();
  }

  #pumpBlocked(): void {
    // One that cannot go on takes its place again.
    const blocked = [...this.#blocked];
    this.#blocked.clear();
    for (const stream of blocked) this.#pump(stream);
  }

  #ping(): void {
    if (!this.#isBusy || this.#failure !== undefined) return;
    if (!this.#pinged) {
      this.#pinged = true;
      this.#send(head(PING_BYTES, Frame.ping, 0, 0), Buffer.alloc(PING_BYTES));
      return;
    }
    // The answer may be there already, unread by a process that was busy.
    setImmediate(() => {
      if (this.#pinged) this.end(new Error(`The server gave no sign of life for ${PING_MS} ms`));
    });
  }
}

// `performance` would have to be loaded, which takes as long as connecting does.
function now(): number {
  return process.uptime() * 1_000;
}

function closedByServer(): Error {
  return new Error('The server closed the connection');
}
