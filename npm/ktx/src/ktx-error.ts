// The one error class that users of the package meet: they switch on `code` and never on the text of
// a message. It stands alone because there must be one of it, whichever file of the package throws.

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
 * `KTX_EXEC_FAILED`, `KTX_DAEMON_START`, `KTX_DAEMON_STOP`, `KTX_DAEMON_UNREACHABLE`,
 * `KTX_DAEMON_LOST`, `KTX_SESSION_LOST`, `KTX_BUSY`.
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
