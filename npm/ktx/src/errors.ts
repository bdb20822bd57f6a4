// How whatever was thrown becomes the one error class that users of the package meet.
import { KtxError } from './ktx-error.js';

export { KtxError };

// What the binding layer itself says when an argument does not have the declared type.
const ARGUMENT_CODE = /^(InvalidArg|\w+Expected)$/;

/** Turns whatever the addon threw into a {@link KtxError}. */
export function toKtxError(thrown: unknown): KtxError {
  if (thrown instanceof KtxError) return thrown;
  if (!(thrown instanceof Error)) {
    return new KtxError('KTX_PANIC', `The native addon failed: ${String(thrown)}`, {
      cause: thrown,
    });
  }
  const { code, hint, logPath, details } = thrown as Error & Record<string, unknown>;
  return new KtxError(stableCode(code), thrown.message, {
    hint: typeof hint === 'string' ? hint : undefined,
    logPath: typeof logPath === 'string' ? logPath : undefined,
    details: isRecord(details) ? details : undefined,
    cause: thrown,
  });
}

function stableCode(code: unknown): string {
  if (typeof code !== 'string') return 'KTX_PANIC';
  if (code.startsWith('KTX_')) return code;
  return ARGUMENT_CODE.test(code) ? 'KTX_USAGE' : 'KTX_PANIC';
}

/** The error for work that an `AbortSignal` ended; the reason becomes its cause. */
export function abortedError(signal: AbortSignal, what: string): KtxError {
  return new KtxError('KTX_ABORTED', `${what} was aborted`, { cause: signal.reason });
}

/** Message of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Whether a value is an object whose keys can be read. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
