// Waiting that an `AbortSignal` ends.

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
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
