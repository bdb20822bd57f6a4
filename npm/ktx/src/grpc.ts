// gRPC over HTTP/2 (PROTOCOL-HTTP2.md of grpc/grpc): calls with one request and one or many
// replies, to one server, on one connection that is opened when it is needed and again after it was
// lost. It says of every failure whether the server can have begun with the call.
import type { Socket } from 'node:net';
import { onAbort, unlessAborted } from './abort.js';
import type { DaemonAccess } from './daemon-types.js';
import { messageOf } from './errors.js';
import { type Fields, writeFields } from './hpack.js';
import { ErrorCode } from './http2-frames.js';
import { Link, type Receiver, type Stream, type StreamEnd } from './http2-link.js';
import { openSocket } from './http2-socket.js';
import { getKtxCliPackageInfo } from './package-info.js';

/** The status codes of gRPC that this package tells apart. */
export const Status = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/** A call that did not end with `OK`. */
export class RpcError extends Error {
  /** One of the codes of gRPC. */
  readonly status: number;
  /** `false` if the server certainly did not begin with the call. */
  readonly accepted: boolean;

  constructor(status: number, message: string, options: { accepted: boolean; cause?: unknown }) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'RpcError';
    this.status = status;
    this.accepted = options.accepted;
  }
}

/** Bytes before a message: whether it is compressed, and its length. */
export const PREFIX_BYTES = 5;

/** Fills in the bytes before a message, for which `framed` begins with room. */
export function setPrefix(framed: Buffer): Buffer {
  framed[0] = 0;
  framed.writeUInt32BE(framed.length - PREFIX_BYTES, 1);
  return framed;
}

/** A server, as its callers see it. */
export class Channel {
  readonly access: DaemonAccess;
  readonly #blocks = new Map<string, Buffer>();
  #socket: Socket | undefined;
  #link: Link | undefined;
  #opening: Promise<Link> | undefined;
  #closed = false;

  /**
   * Connects when it has to.
   *
   * @param socket - One that is being connected already.
   */
  constructor(access: DaemonAccess, socket?: Socket) {
    this.access = access;
    this.#socket = socket;
  }

  /**
   * Sends a message, with its prefix, to a method and returns the reply, without one.
   *
   * @throws {@link RpcError}
   */
  async unary(path: string, framed: Buffer, signal?: AbortSignal): Promise<Buffer> {
    const link = this.#fresh(signal) ?? (await this.#ready(signal));
    return await reply(link, this.#block(path), framed, signal);
  }

  /**
   * Sends a message, with its prefix, to a method and yields the replies as they come, without
   * theirs. Leaving early ends the call.
   *
   * @throws {@link RpcError}
   */
  async *stream(path: string, framed: Buffer, signal?: AbortSignal): AsyncGenerator<Buffer, void> {
    const link = this.#fresh(signal) ?? (await this.#ready(signal));
    yield* replies(link, this.#block(path), framed, signal);
  }

  /** Whether there is a connection that takes calls. */
  get isOpen(): boolean {
    return this.#link?.open === true;
  }

  /** Lets the system say what became of the connection. */
  async look(): Promise<void> {
    await this.#link?.look();
  }

  /** Ends the connection and every call on it. */
  close(): void {
    this.#closed = true;
    this.#socket?.destroy();
    this.#link?.end(closedByCaller());
  }

  #block(path: string): Buffer {
    let block = this.#blocks.get(path);
    if (block === undefined) {
      block = writeFields({
        ':method': 'POST',
        ':scheme': 'http',
        ':authority': 'localhost',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
        'user-agent': `ktx/${getKtxCliPackageInfo().version}`,
        authorization: `Bearer ${this.access.token}`,
      });
      this.#blocks.set(path, block);
    }
    return block;
  }

  #fresh(signal: AbortSignal | undefined): Link | undefined {
    const link = this.#link;
    return link?.open === true && link.fresh && signal?.aborted !== true ? link : undefined;
  }

  async #ready(signal: AbortSignal | undefined): Promise<Link> {
    if (signal?.aborted) throw cancelled(signal, false);
    if (this.#link?.open === true) {
      await this.#link.look();
      if (signal?.aborted) throw cancelled(signal, false);
      if (this.#link.open) return this.#link;
    }
    return await unlessAborted(this.#open(), signal, (aborted) => cancelled(aborted, false));
  }

  async #open(): Promise<Link> {
    if (this.#closed) throw unavailable(closedByCaller(), false);
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = undefined;
    });
    let link: Link;
    try {
      link = await this.#opening;
    } catch (cause) {
      throw unavailable(cause, false);
    }
    if (this.#closed) {
      link.end(closedByCaller());
      throw unavailable(closedByCaller(), false);
    }
    this.#link = link;
    return link;
  }

  async #connect(): Promise<Link> {
    const socket = this.#socket ?? openSocket(this.access.endpoint);
    this.#socket = undefined;
    return await Link.open(socket);
  }
}

/** What a server says of a call besides messages. */
class Verdict {
  #httpStatus: string | undefined;
  #status: number | undefined;
  #message = '';

  read(fields: Fields): void {
    this.#httpStatus ??= fields[':status'];
    const status = fields['grpc-status'];
    if (status === undefined) return;
    this.#status = Number(status);
    this.#message = percentDecoded(fields['grpc-message'] ?? '');
  }

  /** Why the call failed, if it did. */
  failure(end: StreamEnd): RpcError | undefined {
    if (this.#status === Status.ok) return undefined;
    if (this.#status !== undefined) {
      // A server that says so itself has run nothing.
      const accepted = this.#status !== Status.unavailable;
      return new RpcError(this.#status, this.#message, { accepted });
    }
    if (end.kind === 'lost') return unavailable(end.reason, true);
    if (end.kind === 'refused') return unavailable(new Error('The server refused the call'), false);
    const http = this.#httpStatus;
    if (http !== undefined && http !== '200') {
      return new RpcError(statusOfHttp(http), `The server answered with HTTP status ${http}`, {
        accepted: true,
      });
    }
    const code = end.kind === 'reset' ? end.code : ErrorCode.noError;
    return new RpcError(
      statusOfReset(code),
      `The server ended the call with HTTP/2 error ${code} and no status`,
      { accepted: true },
    );
  }
}

function begin(link: Link, block: Buffer, framed: Buffer, receiver: Receiver): Stream {
  try {
    return link.request(block, framed, receiver);
  } catch (cause) {
    throw unavailable(cause, false);
  }
}

function reply(
  link: Link,
  block: Buffer,
  framed: Buffer,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const verdict = new Verdict();
    const chunks: Buffer[] = [];
    const stream = begin(link, block, framed, {
      onFields: (fields) => verdict.read(fields),
      onData(bytes) {
        chunks.push(bytes);
        link.consumed(stream, bytes.length);
      },
      onEnd(end) {
        signal?.removeEventListener('abort', abort);
        const failure = verdict.failure(end);
        if (failure !== undefined) return reject(failure);
        const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
        if (lengthOf(bytes) !== bytes.length) return reject(unreadable());
        resolve(bytes.subarray(PREFIX_BYTES));
      },
    });
    function abort(): void {
      link.cancel(stream);
      reject(cancelled(signal, true));
    }
    onAbort(signal, abort);
  });
}

async function* replies(
  link: Link,
  block: Buffer,
  framed: Buffer,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer, void> {
  const verdict = new Verdict();
  const splitter = new Splitter();
  let arrived: Buffer[] = [];
  let end: StreamEnd | undefined;
  let wake = (): void => {};
  const receiver: Receiver = {
    onFields: (fields) => verdict.read(fields),
    onData(bytes) {
      arrived.push(bytes);
      wake();
    },
    onEnd(how) {
      end = how;
      wake();
    },
  };
  const stream = begin(link, block, framed, receiver);
  const abort = (): void => wake();
  onAbort(signal, abort);
  try {
    for (;;) {
      const chunks = arrived;
      arrived = [];
      for (const chunk of chunks) {
        yield* splitter.messages(chunk);
        // Only what was taken makes room for more.
        link.consumed(stream, chunk.length);
      }
      if (signal?.aborted) throw cancelled(signal, true);
      if (arrived.length > 0) continue;
      if (end !== undefined) break;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    if (end === undefined) link.cancel(stream);
  }
  const failure = verdict.failure(end);
  if (failure !== undefined) throw failure;
  if (splitter.unfinished) throw unreadable();
}

/** Splits what arrives into messages. */
class Splitter {
  #chunks: Buffer[] = [];
  #bytes = 0;

  get unfinished(): boolean {
    return this.#bytes > 0;
  }

  *messages(chunk: Buffer): Generator<Buffer, void> {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    for (;;) {
      if (this.#bytes < PREFIX_BYTES) return;
      if ((this.#chunks[0] as Buffer).length < PREFIX_BYTES) this.#join();
      const length = lengthOf(this.#chunks[0] as Buffer);
      if (this.#bytes < length) return;
      const bytes = this.#join();
      const rest = bytes.subarray(length);
      this.#chunks = rest.length === 0 ? [] : [rest];
      this.#bytes = rest.length;
      yield bytes.subarray(PREFIX_BYTES, length);
    }
  }

  #join(): Buffer {
    const bytes =
      this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    this.#chunks = [bytes];
    return bytes;
  }
}

// Length of the message at the beginning and of its prefix; too much for anything if there is none.
function lengthOf(bytes: Buffer): number {
  if (bytes.length < PREFIX_BYTES || bytes[0] !== 0) return Number.POSITIVE_INFINITY;
  return PREFIX_BYTES + bytes.readUInt32BE(1);
}

function closedByCaller(): Error {
  return new Error('The connection was closed');
}

function cancelled(signal: AbortSignal | undefined, accepted: boolean): RpcError {
  return new RpcError(Status.cancelled, 'The call was aborted', { accepted, cause: signal?.reason });
}

function unavailable(cause: unknown, accepted: boolean): RpcError {
  return new RpcError(Status.unavailable, messageOf(cause), { accepted, cause });
}

function unreadable(): RpcError {
  const message = 'The server sent something that is no message';
  return new RpcError(Status.internal, message, { accepted: true });
}

// What gRPC prescribes for answers that are not its own.
const HTTP_STATUSES: Record<string, number> = {
  '401': Status.unauthenticated,
  '403': Status.permissionDenied,
  '404': Status.unimplemented,
  '429': Status.unavailable,
  '502': Status.unavailable,
  '503': Status.unavailable,
  '504': Status.unavailable,
};

function statusOfHttp(status: string): number {
  return HTTP_STATUSES[status] ?? Status.unknown;
}

function statusOfReset(code: number): number {
  if (code === ErrorCode.cancel) return Status.cancelled;
  if (code === ErrorCode.enhanceYourCalm) return Status.resourceExhausted;
  if (code === ErrorCode.inadequateSecurity) return Status.permissionDenied;
  return Status.internal;
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
