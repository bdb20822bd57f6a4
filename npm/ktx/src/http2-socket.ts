// A socket to a server of HTTP/2 with the client's first words on it. It stands alone so that system
// and server can answer while what goes on from there is still being loaded.
import { type NetConnectOpts, type Socket, connect } from 'node:net';

/** What the server may send on one stream before it is read. */
export const STREAM_WINDOW = 1 << 20;
/** What it may send on all of them before it arrives here. */
export const CONNECTION_WINDOW = 1 << 24;
/** What either side may send before it is told otherwise. */
export const DEFAULT_WINDOW = 65_535;

// RFC 9113, section 3.4: the preface, and SETTINGS: no header table, no pushes, windows for streams.
// Then WINDOW_UPDATE for all of them.
const FIRST_WORDS = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.of(0, 0, 18, 4, 0, 0, 0, 0, 0),
  Buffer.of(0, 1, 0, 0, 0, 0),
  Buffer.of(0, 2, 0, 0, 0, 0),
  Buffer.of(0, 4, ...bytesOf(STREAM_WINDOW)),
  Buffer.of(0, 0, 4, 8, 0, 0, 0, 0, 0, ...bytesOf(CONNECTION_WINDOW - DEFAULT_WINDOW)),
]);

/** Begins to connect to `unix:/path/to/socket`, `127.0.0.1:4711` or `[::1]:4711`. */
export function openSocket(endpoint: string): Socket {
  const socket = connect(addressOf(endpoint));
  // Whoever goes on from here asks what became of it.
  socket.on('error', () => {});
  socket.write(FIRST_WORDS);
  return socket;
}

function addressOf(endpoint: string): NetConnectOpts {
  if (endpoint.startsWith('unix:')) return { path: endpoint.slice('unix:'.length) };
  const { hostname, port } = new URL(`tcp://${endpoint}`);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port), noDelay: true };
}

function bytesOf(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
