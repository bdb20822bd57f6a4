// Output of a call as text, while it comes.
import { StringDecoder } from 'node:string_decoder';
import type { PythonOutputEvent } from './connection-types.js';
import type { ExecuteEvent, ExecuteResponse } from './python-service.js';

/** A piece of output, or the response at the end. */
export type Piece = PythonOutputEvent | { type: 'response'; response: ExecuteResponse };

/** Waits for the first item, and yields it and the others. */
export async function begun<T>(items: AsyncGenerator<T, void>): Promise<AsyncGenerator<T, void>> {
  const first = await items.next();
  return (async function* all() {
    try {
      for (let item = first; item.done !== true; item = await items.next()) yield item.value;
    } finally {
      await items.return();
    }
  })();
}

/** Decodes output as it comes, without cutting a character in two. */
export async function* pieces(events: AsyncIterable<ExecuteEvent>): AsyncGenerator<Piece, void> {
  const decoders = { stdout: new StringDecoder('utf8'), stderr: new StringDecoder('utf8') };
  for await (const { stdout, stderr, outcome } of events) {
    if (stdout !== undefined) yield* piece('stdout', decoders.stdout.write(bufferOf(stdout)));
    if (stderr !== undefined) yield* piece('stderr', decoders.stderr.write(bufferOf(stderr)));
    if (outcome === undefined) continue;
    // Half a character is all that there will be of it.
    yield* piece('stdout', decoders.stdout.end());
    yield* piece('stderr', decoders.stderr.end());
    yield { type: 'response', response: outcome };
  }
}

function* piece(type: 'stdout' | 'stderr', data: string): Generator<PythonOutputEvent, void> {
  if (data !== '') yield { type, data };
}

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
