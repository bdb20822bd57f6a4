// The process's own streams, opened late: Node needs two milliseconds to make a stream object for a
// pipe, which is more than most commands need for their work.
import { fstatSync, writeSync } from 'node:fs';
import type { KtxIo, KtxOutput } from './io.js';

/** The streams of this process. */
export function processIo(): KtxIo {
  return {
    stdout: new ProcessOutput(1, () => process.stdout),
    stderr: new ProcessOutput(2, () => process.stderr),
    get stdin() {
      return process.stdin;
    },
  };
}

class ProcessOutput implements KtxOutput {
  readonly #descriptor: number;
  readonly #open: () => NodeJS.WriteStream;
  #stream: NodeJS.WriteStream | undefined;
  #gone = false;

  constructor(descriptor: number, open: () => NodeJS.WriteStream) {
    this.#descriptor = descriptor;
    this.#open = open;
    if (mayBeTerminal(descriptor)) this.#streamed();
  }

  get isTTY(): boolean {
    return this.#stream?.isTTY === true;
  }

  get columns(): number | undefined {
    return this.#stream?.columns;
  }

  get colors(): boolean | undefined {
    const { FORCE_COLOR } = process.env;
    return FORCE_COLOR === undefined ? undefined : FORCE_COLOR !== '0' && FORCE_COLOR !== 'false';
  }

  get gone(): boolean {
    return this.#gone;
  }

  write(text: string): void {
    if (this.#gone) return;
    if (this.#stream !== undefined) this.#stream.write(text);
    else this.#writeAtOnce(Buffer.from(text));
  }

  #writeAtOnce(bytes: Buffer): void {
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(this.#descriptor, bytes, written);
    } catch (error) {
      if (this.#isGone(error)) return;
      // Someone made the pipe non-blocking, and waiting for its reader takes an event loop.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      this.#streamed().write(bytes.subarray(written));
    }
  }

  #streamed(): NodeJS.WriteStream {
    this.#stream ??= this.#open().on('error', (error) => {
      if (!this.#isGone(error)) throw error;
    });
    return this.#stream;
  }

  // A reader that has seen enough is no failure, and there is no one left to tell about a terminal
  // that is gone.
  #isGone(error: unknown): boolean {
    const { code } = error as NodeJS.ErrnoException;
    this.#gone ||= code === 'EPIPE' || code === 'EIO';
    return this.#gone;
  }
}

function mayBeTerminal(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isCharacterDevice();
  } catch {
    return true;
  }
}
