// One HTTP/2 connection to a gRPC server: opened with a bound, watched while calls run on it, and
// no reason for Node to stay alive while none does.
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2';
import { type NetConnectOpts, type Socket, connect as connectSocket } from 'node:net';
import { performance } from 'node:perf_hooks';

// From connecting to the first words of the server.
const CONNECT_MS = 2_000;
// How often a server with work to do is asked for a sign of life, and how long it has for it.
const PING_MS = 10_000;
// A connection that was idle this long may have been closed while this process was busy.
const FRESH_MS = 5;
// Tens of megabytes should not wait for permission every 64 KiB.
const STREAM_WINDOW_BYTES = 1 << 20;
const CONNECTION_WINDOW_BYTES = 1 << 24;
const MAX_FRAME_BYTES = 1 << 18;
// Node refuses new calls when those that run hold more than this. The server has limits of its own.
const SESSION_MEMORY_MB = 4_096;

/** A connection. */
export class Link {
  readonly #socket: Socket;
  readonly #session: ClientHttp2Session;
  readonly #pulse: NodeJS.Timeout;
  #open = false;
  #failure: Error | undefined;
  #calls = 0;
  #pinged = false;
  #usedAt = performance.now();

  /** Connects; the link is open when the server has said its first words. */
  static async open(endpoint: string): Promise<Link> {
    const link = new Link(endpoint);
    await link.#greeting();
    return link;
  }

  private constructor(endpoint: string) {
    const socket = connectSocket(addressOf(endpoint));
    this.#socket = socket;
    this.#session = connectHttp2('http://localhost', {
      createConnection: () => socket,
      maxSessionMemory: SESSION_MEMORY_MB,
      settings: {
        enablePush: false,
        initialWindowSize: STREAM_WINDOW_BYTES,
        maxFrameSize: MAX_FRAME_BYTES,
      },
    });
    this.#session.on('error', (error: Error) => this.#fail(error));
    // The socket knows first, and the session after a turn of the event loop.
    socket.on('end', () => this.#fail(closedByServer()));
    this.#session.on('close', () => this.#fail(closedByServer()));
    this.#session.on('goaway', () => {
      this.#open = false;
    });
    this.#pulse = setInterval(() => this.#ping(), PING_MS).unref();
  }

  /** Whether it takes calls. */
  get open(): boolean {
    return this.#open;
  }

  /** Why it was lost, if it was. */
  get failure(): Error | undefined {
    if (this.#session.destroyed) this.#fail(closedByServer());
    return this.#failure;
  }

  /** Whether it was in use just now, so that its loss would have been seen. */
  get fresh(): boolean {
    return this.#calls > 0 || performance.now() - this.#usedAt < FRESH_MS;
  }

  /** Lets the system say what became of the socket while this process was busy. */
  async look(): Promise<void> {
    // The first turn may be the rest of the present one, which has asked the system already.
    await new Promise(setImmediate);
    await new Promise(setImmediate);
  }

  /** Begins a call; {@link release} ends it. */
  request(headers: Record<string, string>): ClientHttp2Stream {
    try {
      const stream = this.#session.request(headers);
      if (this.#calls++ === 0) this.#socket.ref();
      return stream;
    } catch (error) {
      this.#open = false;
      throw error;
    }
  }

  /** Says that a call is over. */
  release(): void {
    this.#usedAt = performance.now();
    if (--this.#calls > 0) return;
    this.#socket.unref();
    if (!this.#open) this.#session.close();
  }

  /** Ends the connection and every call on it. */
  end(reason: Error): void {
    this.#fail(reason);
    this.#session.destroy();
  }

  #fail(reason: Error): void {
    this.#failure ??= reason;
    this.#open = false;
    clearInterval(this.#pulse);
  }

  // A server sends its settings first. Until then it was sent nothing that it could act upon.
  #greeting(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.end(new Error(`The server did not answer within ${CONNECT_MS} ms`));
      }, CONNECT_MS);
      this.#session.once('remoteSettings', () => {
        clearTimeout(timer);
        if (this.#failure !== undefined) return;
        this.#open = true;
        this.#session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
        this.#socket.unref();
        resolve();
      });
      this.#session.once('close', () => {
        clearTimeout(timer);
        reject(this.#failure);
      });
    });
  }

  #ping(): void {
    if (this.#calls === 0 || this.#failure !== undefined) return;
    if (!this.#pinged) {
      this.#pinged = true;
      this.#session.ping(() => {
        this.#pinged = false;
      });
      return;
    }
    // The answer may be there already, unread by a process that was busy.
    setImmediate(() => {
      if (this.#pinged) this.end(new Error(`The server gave no sign of life for ${PING_MS} ms`));
    });
  }
}

function closedByServer(): Error {
  return new Error('The server closed the connection');
}

function addressOf(endpoint: string): NetConnectOpts {
  if (endpoint.startsWith('unix:')) return { path: endpoint.slice('unix:'.length) };
  const { hostname, port } = new URL(`tcp://${endpoint}`);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port), noDelay: true };
}
