// The log of a daemon as people follow it, across its rotation.
import { type FileHandle, open, stat } from 'node:fs/promises';
import { StringDecoder } from 'node:string_decoder';
import { setTimeout as wait } from 'node:timers/promises';

/** The end of a log, and up to where it was read. */
export interface LogEnd {
  text: string;
  /** Which file it was: after a rotation another one has the name. */
  file: number;
  /** Bytes from its beginning. */
  position: number;
}

// Files tell of nothing on some systems, so they are asked.
const POLL_MS = 200;

/** Reads the last lines of a log; `undefined` if there is none. */
export async function endOfLog(path: string, lines: number): Promise<LogEnd | undefined> {
  const log = await openLog(path);
  if (log === undefined) return undefined;
  try {
    const { ino } = await log.stat();
    const bytes = await log.readFile();
    const all = bytes.toString('utf8').split('\n');
    // What follows the last line break is a line only if there is something.
    const whole = all.at(-1) === '' ? all.length - 1 : all.length;
    const text = all.slice(Math.max(0, whole - lines)).join('\n');
    return { text: lines === 0 ? '' : text, file: ino, position: bytes.length };
  } finally {
    await log.close();
  }
}

/** Yields what is written to a log after `end`, until `signal` is aborted. */
export async function* newInLog(
  path: string,
  end: LogEnd,
  signal?: AbortSignal,
): AsyncGenerator<string, void> {
  let { file, position } = end;
  let log = await openLog(path);
  const decoder = new StringDecoder('utf8');
  try {
    while (!signal?.aborted) {
      if (log !== undefined) {
        const { ino, size } = await log.stat();
        if (ino !== file || size < position) position = 0;
        file = ino;
        for (;;) {
          const { buffer, bytesRead } = await log.read({ position });
          if (bytesRead === 0) break;
          position += bytesRead;
          yield decoder.write(buffer.subarray(0, bytesRead));
        }
        if (await isCurrent(path, file)) {
          await pause(signal);
          continue;
        }
        await log.close();
      }
      log = await openLog(path);
      if (log === undefined) await pause(signal);
    }
  } finally {
    await log?.close();
  }
}

async function openLog(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function isCurrent(path: string, file: number): Promise<boolean> {
  try {
    return (await stat(path)).ino === file;
  } catch {
    return false;
  }
}

async function pause(signal: AbortSignal | undefined): Promise<void> {
  await wait(POLL_MS, undefined, signal === undefined ? {} : { signal }).catch(() => {});
}
