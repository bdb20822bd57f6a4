// The one error class that users of the package meet, and the one place that makes it from what
// the addon throws: callers switch on `code` and never on the text of a message.

/** What a {@link KtxError} carries beside its code and message. */
export interface KtxErrorOptions {
  /** A sentence that begins with a verb and contains a command to run. */
  hint?: string | undefined;
  /** A log that shows what happened. */
  logPath?: string | undefined;
  /** Facts about the failure; the keys depend on the code. */
  details?: Record<string, unknown> | undefined;
  /** The error or abort reason that led to this one. */
  cause?: unknown;
}

/**
 * Every failure of this package.
 *
 * `code` is stable: `KTX_USAGE`, `KTX_HOME_UNSET`, `KTX_ROOT_UNSAFE`, `KTX_ROOT_READ_ONLY`,
 * `KTX_IO`, `KTX_DISK_FULL`, `KTX_LOCK_TIMEOUT`, `KTX_LOCK_UNSUPPORTED`, `KTX_ASSET_MISSING`,
 * `KTX_ASSET_MANIFEST`, `KTX_ASSET_UNSAFE`, `KTX_ASSET_CHECKSUM`, `KTX_UV_MISSING`,
 * `KTX_UV_NETWORK`, `KTX_UV_CHECKSUM`, `KTX_UV_RESPONSE`, `KTX_UV_BROKEN`, `KTX_PYTHON_MISSING`,
 * `KTX_INSTALL_FAILED`, `KTX_PROBE_FAILED`, `KTX_RUNTIME_NEWER`, `KTX_RUNTIME_MISSING`,
 * `KTX_ABORTED`, `KTX_PANIC`, `KTX_ADDON_MISSING`, `KTX_ADDON_VERSION`, `KTX_EXEC_TIMEOUT`,
 * `KTX_EXEC_FAILED`.
 */
export class KtxError extends Error {
  /** Stable name of the failure, `KTX_` and upper case. */
  readonly code: string;
  /** A sentence that begins with a verb and contains a command to run. */
  readonly hint?: string;
  /** A log that shows what happened. */
  readonly logPath?: string;
  /** Facts about the failure; the keys depend on the code. */
  readonly details?: Record<string, unknown>;

  constructor(code: string, message: string, options: KtxErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'KtxError';
    this.code = code;
    if (options.hint !== undefined) this.hint = options.hint;
    if (options.logPath !== undefined) this.logPath = options.logPath;
    if (options.details !== undefined) this.details = options.details;
  }
}

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
