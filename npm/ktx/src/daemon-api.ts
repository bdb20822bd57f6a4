// The daemon's life as functions that Node programs call. The addon knows processes and files; what
// a daemon is asked goes through the client here.
import type * as Native from '../native.js';
import { callAddon, defined, layoutOptions } from './addon-call.js';
import type { ReachedDaemon } from './connection.js';
import type {
  DaemonAccess,
  DaemonOptions,
  DaemonSettings,
  DaemonState,
  DaemonStatus,
  StartDaemonOptions,
  StartedDaemon,
  StopDaemonResult,
  StoppedDaemon,
} from './daemon-types.js';
import { abortedError, messageOf, toKtxError } from './errors.js';
import type { PythonService } from './python-service.js';
import { installManagedPythonRuntime } from './runtime-api.js';
import type { RuntimeLayout, RuntimeOptions } from './types.js';

interface Started {
  status: 'started' | 'reused';
  layout: RuntimeLayout;
  state: DaemonState;
  stateFile: string;
  access: DaemonAccess;
}

// How long a daemon may take to answer whether it serves, and to hear that it has to end.
const ANSWER_MS = 2_000;

/**
 * Starts the daemon, or returns the one that runs; installs the runtime first where it is missing.
 *
 * @throws {@link KtxError} `KTX_DAEMON_START`, with the log as its `logPath`, when a daemon does not
 * come up; `KTX_ABORTED` when `signal` ended it; and what installing a runtime throws.
 */
export async function startManagedPythonDaemon(options: StartDaemonOptions): Promise<StartedDaemon> {
  const { features = ['core'], installRuntime = installManagedPythonRuntime } = options;
  const { exec, onProgress, signal } = options;
  await installRuntime(
    defined({ ...runtimeOptions(options), features, exec, onProgress, signal }),
  );
  return await startInstalledDaemon(options);
}

/** @internal Starts the daemon of an installed runtime, or returns the one that runs. */
export async function startInstalledDaemon(
  options: Omit<StartDaemonOptions, 'features'>,
): Promise<StartedDaemon> {
  const calls = new DaemonCalls();
  try {
    const { status, layout, state, stateFile } = await start(options, calls, options.signal);
    const { endpoint, pid, version, features } = state;
    return { status, layout, state, stateFile, endpoint, pid, version, features };
  } finally {
    calls.close();
  }
}

/** @internal Finds the daemon of an installed runtime, or starts it, and connects to it. */
export async function reachDaemon(
  options: DaemonOptions & DaemonSettings,
  signal?: AbortSignal,
): Promise<ReachedDaemon> {
  const calls = new DaemonCalls();
  try {
    const { status, state, access } = await start(options, calls, signal);
    return { status, state, service: await calls.take(access) };
  } finally {
    calls.close();
  }
}

/** @internal Returns how to call the daemon if its process is there, without asking it. */
export async function findDaemonAccess(options: DaemonOptions): Promise<DaemonAccess | undefined> {
  const found = await readStatus(options);
  return found.kind === 'running' ? found.access : undefined;
}

/** @internal Finds the daemon of an installed runtime, or starts it, and returns how to call it. */
export async function startDaemonAccess(
  options: DaemonOptions,
  signal?: AbortSignal,
): Promise<DaemonAccess> {
  const calls = new DaemonCalls();
  try {
    return (await start(options, calls, signal)).access;
  } finally {
    calls.close();
  }
}

/** Says whether the daemon runs and answers; changes nothing. */
export async function readManagedPythonDaemonStatus(options: DaemonOptions): Promise<DaemonStatus> {
  const calls = new DaemonCalls();
  try {
    const { access: _secret, ...found } = await readStatus(options, calls);
    return found;
  } finally {
    calls.close();
  }
}

/**
 * Ends the daemons of this version that are the user's, or the project's, and returns when they,
 * and all that they ran, are gone.
 *
 * @throws {@link KtxError} `KTX_DAEMON_STOP` when one cannot be ended.
 */
export async function stopManagedPythonDaemon(options: DaemonOptions): Promise<StopDaemonResult> {
  const calls = new DaemonCalls();
  try {
    return await callAddon((addon) =>
      addon.native.stopDaemon(layoutOptions(addon, options), daemonOptions(options), calls.dialer),
    );
  } finally {
    calls.close();
  }
}

/**
 * Ends every daemon under the runtime root, of every version and project, and returns when they,
 * and all that they ran, are gone.
 *
 * @throws {@link KtxError} `KTX_DAEMON_STOP` when one cannot be ended.
 */
export async function stopAllManagedPythonDaemons(
  options: DaemonOptions,
): Promise<StoppedDaemon[]> {
  const calls = new DaemonCalls();
  try {
    return await callAddon((addon) =>
      addon.native.stopAllDaemons(layoutOptions(addon, options), calls.dialer),
    );
  } finally {
    calls.close();
  }
}

async function start(
  options: DaemonOptions & DaemonSettings & { force?: boolean | undefined },
  calls: DaemonCalls,
  signal: AbortSignal | undefined,
): Promise<Started> {
  if (signal?.aborted) throw abortedError(signal, 'The start of the daemon');
  return await callAddon(async (addon) => {
    const cancellation = new addon.native.Cancellation();
    const cancel = (): void => cancellation.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      const { idleTimeoutMs, maxMemoryBytes, maxConcurrency, force } = options;
      return await addon.native.startDaemon(
        layoutOptions(addon, options),
        defined({ ...daemonOptions(options), force, idleTimeoutMs, maxMemoryBytes, maxConcurrency }),
        calls.dialer,
        cancellation,
      );
    } catch (error) {
      const failure = toKtxError(error);
      throw signal?.aborted && failure.code === 'KTX_ABORTED'
        ? abortedError(signal, 'The start of the daemon')
        : failure;
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  });
}

async function readStatus(
  options: DaemonOptions,
  calls?: DaemonCalls,
): Promise<DaemonStatus & { access?: DaemonAccess }> {
  return await callAddon((addon) =>
    addon.native.daemonStatus(layoutOptions(addon, options), daemonOptions(options), calls?.dialer),
  );
}

function daemonOptions({ projectDir }: DaemonOptions): Native.DaemonOptions {
  return defined({ projectDir });
}

function runtimeOptions(options: DaemonOptions): RuntimeOptions {
  const { cliVersion, platform, env, homeDir, runtimeRoot, assetDir } = options;
  return { cliVersion, platform, env, homeDir, runtimeRoot, assetDir };
}

/** What the addon asks daemons during one operation, over one connection to each. */
class DaemonCalls {
  readonly dialer: Native.Dialer = {
    health: (access) => this.#call(access, (service, signal) => service.health(signal)),
    shutdown: (access) => this.#call(access, (service, signal) => service.shutdown(signal)),
  };
  readonly #services = new Map<string, PythonService>();

  /** The connection to a daemon, which is the caller's from now on. */
  async take(access: DaemonAccess): Promise<PythonService> {
    const service = await this.#service(access);
    this.#services.delete(access.token);
    return service;
  }

  close(): void {
    for (const service of this.#services.values()) service.close();
  }

  async #call(
    access: DaemonAccess,
    work: (service: PythonService, signal: AbortSignal) => Promise<void>,
  ): Promise<Native.RpcReply> {
    try {
      await work(await this.#service(access), AbortSignal.timeout(ANSWER_MS));
      return { ok: true };
    } catch (error) {
      return { ok: false, message: messageOf(error) };
    }
  }

  // A token is one daemon's.
  async #service({ endpoint, token }: DaemonAccess): Promise<PythonService> {
    // Loading the client takes longer than to find that there is no daemon.
    const { PythonService } = await import('./client.js');
    let service = this.#services.get(token);
    if (service === undefined) {
      service = new PythonService({ endpoint, token });
      this.#services.set(token, service);
    }
    return service;
  }
}
