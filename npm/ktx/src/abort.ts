// Work and waiting that an `AbortSignal` ends.
import { EventEmitter, getMaxListeners, setMaxListeners } from 'node:events';

/** Calls `listener` when `signal` is aborted, until it is removed. */
export function onAbort(signal: AbortSignal | undefined, listener: () => void): void {
  if (signal === undefined) return;
  // One signal may end any number of calls at once, which is no leak to be warned of.
  if (getMaxListeners(signal) === EventEmitter.defaultMaxListeners) {
    setMaxListeners(Number.MAX_SAFE_INTEGER, signal);
  }
  signal.addEventListener('abort', listener, { once: true });
}

/** Waits for `work`, but no longer than until `signal` is aborted. The work itself goes on. */
export async function unlessAborted<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
  errorOf: (signal: AbortSignal) => Error,
): Promise<T> {
  if (signal === undefined) return await work;
  if (signal.aborted) throw errorOf(signal);
  let abort = (): void => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    abort = () => reject(errorOf(signal));
    onAbort(signal, abort);
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
