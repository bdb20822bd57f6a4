// The functions that Node programs call: options in, plain values out. They add to the addon what
// only JavaScript can give: callbacks that must not throw into it, abort signals, one error class.
import type * as Native from '../native.js';
import { loadAddon } from './addon.js';
import { CallbackFailure, callAddon, defined, layoutOptions } from './addon-call.js';
import { abortedError, isRecord, messageOf, toKtxError } from './errors.js';
import type {
  DoctorCheck,
  DoctorOptions,
  Exec,
  InstallOptions,
  InstallResult,
  OnProgress,
  PruneOptions,
  PruneResult,
  RuntimeLayout,
  RuntimeOptions,
  RuntimeStatus,
  VerifiedAsset,
} from './types.js';

/**
 * Computes where a runtime is, without looking at the disk.
 *
 * @throws {@link KtxError} `KTX_HOME_UNSET` when neither a home nor a root is known.
 */
export function managedPythonRuntimeLayout(options: RuntimeOptions): RuntimeLayout {
  try {
    const addon = loadAddon();
    return addon.native.layout(layoutOptions(addon, options));
  } catch (error) {
    throw toKtxError(error);
  }
}

/**
 * Checks the bytes of an asset against its manifest.
 *
 * @throws {@link KtxError} `KTX_ASSET_MISSING`, `KTX_ASSET_MANIFEST`, `KTX_ASSET_UNSAFE` or
 * `KTX_ASSET_CHECKSUM`.
 */
export async function verifyRuntimeAsset(options: { assetDir: string }): Promise<VerifiedAsset> {
  return await callAddon(({ native }) => native.verifyAsset(options.assetDir));
}

/**
 * Installs a runtime, or returns the ready one without running anything. A failure leaves what was
 * ready as it was.
 *
 * @throws {@link KtxError} with the code of what failed; `KTX_ABORTED`, with the reason as its
 * cause, when `signal` ended it. What `onProgress` throws is thrown as it is.
 */
export async function installManagedPythonRuntime(options: InstallOptions): Promise<InstallResult> {
  const { features, force, exec, onProgress, signal } = options;
  if (signal?.aborted) throw abortedError(signal, 'The installation');
  return await callAddon(async (addon) => {
    const cancellation = new addon.native.Cancellation();
    const listener = progressListener(onProgress, cancellation);
    const cancel = (): void => cancellation.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      const hooks: Native.Hooks = { cancellation, ...execHook(exec) };
      if (listener.onProgress !== undefined) hooks.onProgress = listener.onProgress;
      const result = await addon.native.install(
        layoutOptions(addon, options),
        features,
        force ?? false,
        hooks,
      );
      listener.throwFailure();
      return result;
    } catch (error) {
      listener.throwFailure();
      const failure = toKtxError(error);
      throw signal?.aborted && failure.code === 'KTX_ABORTED'
        ? abortedError(signal, 'The installation')
        : failure;
    } finally {
      signal?.removeEventListener('abort', cancel);
      listener.close();
    }
  });
}

/** Reads the state of a runtime; changes nothing. */
export async function readManagedPythonRuntimeStatus(
  options: RuntimeOptions,
): Promise<RuntimeStatus> {
  return await callAddon((addon) => addon.native.status(layoutOptions(addon, options)));
}

/** Checks uv, the asset and the runtime, in that order, with the command that repairs each. */
export async function doctorManagedPythonRuntime(options: DoctorOptions): Promise<DoctorCheck[]> {
  return await callAddon((addon) =>
    addon.native.doctor(layoutOptions(addon, options), execHook(options.exec)),
  );
}

/** Removes the runtimes of other versions that no live daemon uses. */
export async function pruneManagedPythonRuntimes(options: PruneOptions): Promise<PruneResult> {
  const { cliVersion, runtimeRoot, dryRun } = options;
  return await callAddon(({ native }) => native.prune(defined({ cliVersion, runtimeRoot, dryRun })));
}

interface ProgressListener {
  onProgress?: (event: Native.ProgressEvent) => void;
  /** Throws what the callback threw, if it did. */
  throwFailure(): void;
  /** Ignores every later event. */
  close(): void;
}

// An exception must not travel into the addon: it stops the work and is thrown at the end instead,
// also when the work was already past the point where it can be stopped.
function progressListener(
  onProgress: OnProgress | undefined,
  cancellation: Native.Cancellation,
): ProgressListener {
  let failure: CallbackFailure | undefined;
  let closed = false;
  const listener: ProgressListener = {
    throwFailure() {
      if (failure !== undefined) throw failure;
    },
    close() {
      closed = true;
    },
  };
  if (onProgress === undefined) return listener;
  listener.onProgress = (event) => {
    if (closed || failure !== undefined) return;
    try {
      onProgress(event as Parameters<OnProgress>[0]);
    } catch (error) {
      failure = new CallbackFailure(error);
      cancellation.cancel();
    }
  };
  return listener;
}

function execHook(exec: Exec | undefined): Native.Hooks {
  if (exec === undefined) return {};
  return {
    exec: async ({ command, args, cwd, env }) => {
      try {
        const done = await exec(command, args, { ...(cwd === undefined ? {} : { cwd }), env });
        return { ok: true, stdout: textOf(done, 'stdout'), stderr: textOf(done, 'stderr') };
      } catch (error) {
        return {
          ok: false,
          message: messageOf(error),
          stdout: textOf(error, 'stdout'),
          stderr: textOf(error, 'stderr'),
        };
      }
    },
  };
}

function textOf(source: unknown, key: 'stdout' | 'stderr'): string {
  const value = isRecord(source) ? source[key] : undefined;
  return value === undefined || value === null ? '' : String(value);
}
