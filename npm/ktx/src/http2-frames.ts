// The frames of HTTP/2 (RFC 9113, section 6) as bytes.

/** Error codes of HTTP/2. */
export const ErrorCode = {
  noError: 0,
  refusedStream: 7,
  cancel: 8,
  enhanceYourCalm: 11,
  inadequateSecurity: 12,
} as const;

/** Types of frames. */
export const Frame = {
  data: 0,
  headers: 1,
  resetStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

/** Flags of frames. */
export const Flag = { ack: 0x1, endStream: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

/** What a server may settle that its client has to know. */
export const Setting = {
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
} as const;

/** Bytes before each frame. */
export const HEAD_BYTES = 9;

/** What stands before a frame. */
export function head(length: number, type: number, flags: number, id: number): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES);
  bytes.writeUIntBE(length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(id, 5);
  return bytes;
}

/** Lets the other side send so many more bytes. */
export function windowUpdate(id: number, bytes: number): Buffer {
  return numbered(Frame.windowUpdate, id, bytes);
}

/** Ends a stream. */
export function reset(id: number, code: number): Buffer {
  return numbered(Frame.resetStream, id, code);
}

function numbered(type: number, id: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return Buffer.concat([head(bytes.length, type, 0, id), bytes]);
}

/** What a frame holds. */
export function unpadded(flags: number, payload: Buffer): Buffer {
  if ((flags & Flag.padded) === 0) return payload;
  const padding = payload.readUInt8(0);
  if (padding >= payload.length) throw unexpected();
  return payload.subarray(1, payload.length - padding);
}

/** The error for a frame that breaks the rules. */
export function unexpected(): Error {
  return new Error('The server sent a frame that does not belong here');
}
