// gRPC over `node:http2` (PROTOCOL-HTTP2.md of grpc/grpc): calls with one request and one or many
// replies, to one server, on one connection that is opened when it is needed and again after it was
// lost. It says of every failure whether the server can have begun with the call.
import { type ClientHttp2Stream, type IncomingHttpHeaders, constants } from 'node:http2';
import { unlessAborted } from './abort.js';
import type { DaemonAccess } from './daemon-types.js';
import { messageOf } from './errors.js';
import { Link } from './grpc-link.js';
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
  readonly #headers = new Map<string, Record<string, string>>();
  #link: Link | undefined;
  #opening: Promise<Link> | undefined;
  #closed = false;

  constructor(access: DaemonAccess) {
    this.access = access;
  }

  /**
   * Sends a message, with its prefix, to a method and returns the reply, without one.
   *
   * @throws {@link RpcError}
   */
  async unary(path: string, framed: Buffer, signal?: AbortSignal): Promise<Buffer> {
    const link = await this.#ready(signal);
    return await new Exchange(link, this.#headersOf(path), signal).reply(framed);
  }

  /**
   * Sends a message, with its prefix, to a method and yields the replies as they come, without
   * theirs. Leaving early ends the call.
   *
   * @throws {@link RpcError}
   */
  async *stream(path: string, framed: Buffer, signal?: AbortSignal): AsyncGenerator<Buffer, void> {
    const link = await this.#ready(signal);
    yield* new Exchange(link, this.#headersOf(path), signal).replies(framed);
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
    this.#link?.end(closedByCaller());
  }

  #headersOf(path: string): Record<string, string> {
    let headers = this.#headers.get(path);
    if (headers === undefined) {
      headers = {
        ':method': 'POST',
        ':scheme': 'http',
        ':authority': 'localhost',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
        'user-agent': `ktx/${getKtxCliPackageInfo().version}`,
        authorization: `Bearer ${this.access.token}`,
      };
      this.#headers.set(path, headers);
    }
    return headers;
  }

  async #ready(signal: AbortSignal | undefined): Promise<Link> {
    if (signal?.aborted) throw cancelled(signal, false);
    if (this.#link?.open === true) {
      if (this.#link.fresh) return this.#link;
      await this.#link.look();
      if (signal?.aborted) throw cancelled(signal, false);
      if (this.#link.open) return this.#link;
    }
    return await unlessAborted(this.#open(), signal, (aborted) => cancelled(aborted, false));
  }

  async #open(): Promise<Link> {
    if (this.#closed) throw unavailable(closedByCaller(), false);
    this.#opening ??= Link.open(this.access.endpoint).finally(() => {
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
}

/** One call on the wire. */
class Exchange {
  readonly #link: Link;
  readonly #stream: ClientHttp2Stream;
  readonly #signal: AbortSignal | undefined;
  #httpStatus: number | undefined;
  #status: number | undefined;
  #message = '';

  constructor(link: Link, headers: Record<string, string>, signal: AbortSignal | undefined) {
    this.#link = link;
    this.#signal = signal;
    try {
      this.#stream = link.request(headers);
    } catch (cause) {
      throw unavailable(cause, false);
    }
    const onHeaders = (received: IncomingHttpHeaders): void => this.#read(received);
    this.#stream.on('response', onHeaders);
    this.#stream.on('trailers', onHeaders);
    // What went wrong is read off the stream when it is closed.
    this.#stream.on('error', () => {});
  }

  reply(framed: Buffer): Promise<Buffer> {
    const stream = this.#stream;
    const signal = this.#signal;
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      const abort = (): void => {
        stream.close(constants.NGHTTP2_CANCEL);
        reject(cancelled(signal, true));
      };
      signal?.addEventListener('abort', abort, { once: true });
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('close', () => {
        signal?.removeEventListener('abort', abort);
        this.#link.release();
        const failure = this.#failure();
        if (failure !== undefined) return reject(failure);
        const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
        if (lengthOf(bytes) !== bytes.length) return reject(unreadable());
        resolve(bytes.subarray(PREFIX_BYTES));
      });
      stream.end(framed);
    });
  }

  async *replies(framed: Buffer): AsyncGenerator<Buffer, void> {
    const stream = this.#stream;
    const closed = new Promise<void>((resolve) => {
      stream.on('close', () => {
        this.#link.release();
        resolve();
      });
    });
    const abort = (): void => stream.close(constants.NGHTTP2_CANCEL);
    this.#signal?.addEventListener('abort', abort, { once: true });
    stream.end(framed);
    const chunks = stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
    const splitter = new Splitter();
    try {
      for (;;) {
        const chunk = await chunks.next().catch(() => undefined);
        if (chunk === undefined || chunk.done === true) break;
        yield* splitter.messages(chunk.value);
      }
    } finally {
      this.#signal?.removeEventListener('abort', abort);
      if (!stream.closed) stream.close(constants.NGHTTP2_CANCEL);
    }
    await closed;
    const failure = this.#failure();
    if (failure !== undefined) throw failure;
    if (splitter.unfinished) throw unreadable();
  }

  #read(headers: IncomingHttpHeaders & { ':status'?: number }): void {
    this.#httpStatus ??= headers[':status'];
    const status = headers['grpc-status'];
    if (status === undefined) return;
    this.#status = Number(status);
    this.#message = percentDecoded(String(headers['grpc-message'] ?? ''));
  }

  // Asked when the stream is closed.
  #failure(): RpcError | undefined {
    if (this.#status === Status.ok) return undefined;
    if (this.#status !== undefined) {
      // A server that says so itself has run nothing.
      const accepted = this.#status !== Status.unavailable;
      return new RpcError(this.#status, this.#message, { accepted });
    }
    if (this.#signal?.aborted) return cancelled(this.#signal, true);
    const { rstCode } = this.#stream;
    if (rstCode === constants.NGHTTP2_REFUSED_STREAM) {
      return unavailable(new Error('The server refused the call'), false);
    }
    const lost = this.#link.failure;
    if (lost !== undefined) return unavailable(lost, true);
    if (this.#httpStatus !== undefined && this.#httpStatus !== constants.HTTP_STATUS_OK) {
      const message = `The server answered with HTTP status ${this.#httpStatus}`;
      return new RpcError(statusOfHttp(this.#httpStatus), message, { accepted: true });
    }
    const message = `The server ended the call with HTTP/2 error ${rstCode}`;
    return new RpcError(statusOfReset(rstCode), message, { accepted: true });
  }
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
function statusOfHttp(status: number): number {
  if (status === constants.HTTP_STATUS_UNAUTHORIZED) return Status.unauthenticated;
  if (status === constants.HTTP_STATUS_FORBIDDEN) return Status.permissionDenied;
  if (status === constants.HTTP_STATUS_NOT_FOUND) return Status.unimplemented;
  const unreachable: number[] = [
    constants.HTTP_STATUS_TOO_MANY_REQUESTS,
    constants.HTTP_STATUS_BAD_GATEWAY,
    constants.HTTP_STATUS_SERVICE_UNAVAILABLE,
    constants.HTTP_STATUS_GATEWAY_TIMEOUT,
  ];
  return unreachable.includes(status) ? Status.unavailable : Status.unknown;
}

function statusOfReset(code: number | undefined): number {
  if (code === constants.NGHTTP2_CANCEL) return Status.cancelled;
  if (code === constants.NGHTTP2_ENHANCE_YOUR_CALM) return Status.resourceExhausted;
  if (code === constants.NGHTTP2_INADEQUATE_SECURITY) return Status.permissionDenied;
  return Status.internal;
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
