// The class that a person would want to write against: a runtime that is there, and Python in it.
import type { PythonConnection } from './connection.js';
import type { DaemonSettings } from './daemon-types.js';
import { type ExecuteOutcome, outcomeError } from './outcome.js';
import { getKtxCliPackageInfo } from './package-info.js';
import { installManagedPythonRuntime, readManagedPythonRuntimeStatus } from './runtime-api.js';
import type {
  InstallOptions,
  InstallResult,
  RuntimeFeature,
  RuntimeLayout,
  RuntimeManifest,
  RuntimeOptions,
} from './types.js';

/** Options of {@link PythonRuntime.ensure}. */
export interface EnsureOptions extends Omit<InstallOptions, 'cliVersion' | 'features'> {
  /** Version whose runtime is meant. Default: this package's. */
  cliVersion?: string | undefined;
  /** Features that must be there. Default: `['core']`. */
  features?: RuntimeFeature[] | undefined;
}

/** Options of {@link PythonRuntime.execute}. */
export interface ExecuteOptions {
  /** Milliseconds after which the code is ended. Default: no limit. */
  timeoutMs?: number | undefined;
  /** Ends the code. */
  signal?: AbortSignal | undefined;
  /** Working directory of the code. Default: an empty temporary one, removed afterwards. */
  cwd?: string | undefined;
  /** `sys.argv[1:]`. Default: none. */
  args?: string[] | undefined;
  /** JSON that the code sees as `upstream`. */
  upstream?: unknown;
}

/** Options of {@link PythonRuntime.connect}. */
export interface ConnectOptions extends DaemonSettings {
  /** The project whose own daemon is meant. Default: the user's, which all programs share. */
  projectDir?: string | undefined;
  /** Ends the attempt. */
  signal?: AbortSignal | undefined;
}

/** What code that succeeded left behind. */
export interface ExecuteResult {
  /**
   * `_result` if the code set it, else the value of the last expression, else `null`. An integer
   * beyond ±(2^53 - 1) is a `bigint`.
   */
  value: unknown;
  stdout: string;
  stderr: string;
  /** Milliseconds that the code ran. */
  durationMs: number;
}

/**
 * An installed Python runtime.
 *
 * @example
 * const runtime = await PythonRuntime.ensure();
 * const { value } = await runtime.execute('sum(range(10))', { timeoutMs: 1000 });
 */
export class PythonRuntime {
  /** Whether {@link ensure} found the runtime `ready` or `installed` it. */
  readonly status: 'ready' | 'installed';
  /** Where the runtime is. */
  readonly layout: RuntimeLayout;
  /** What is installed. */
  readonly manifest: RuntimeManifest;
  readonly #options: RuntimeOptions;
  // Another process may have installed the runtime anew since.
  #daemonExecutable: string;

  private constructor(installed: InstallResult, options: RuntimeOptions) {
    this.status = installed.status;
    this.layout = installed.layout;
    this.manifest = installed.manifest;
    this.#options = options;
    this.#daemonExecutable = installed.manifest.python.daemonExecutable;
  }

  /**
   * Returns the runtime, and installs it first where it is missing or broken.
   *
   * @throws {@link KtxError} with the code of what failed; `KTX_ABORTED` when `signal` ended it.
   */
  static async ensure(options: EnsureOptions = {}): Promise<PythonRuntime> {
    const cliVersion = options.cliVersion ?? getKtxCliPackageInfo().version;
    const installed = await installManagedPythonRuntime({
      ...options,
      cliVersion,
      features: options.features ?? ['core'],
    });
    return new PythonRuntime(installed, { ...options, cliVersion });
  }

  /**
   * Starts the daemon, or finds the one that runs, and returns a connection to it, on which calls
   * take milliseconds.
   *
   * @throws {@link KtxError} `KTX_DAEMON_START` when it does not come up; `KTX_RUNTIME_MISSING` when
   * the runtime was removed since {@link ensure}; `KTX_ABORTED`.
   */
  async connect(options: ConnectOptions = {}): Promise<PythonConnection> {
    const { signal, ...settings } = options;
    const [{ PythonConnection }, { reachDaemon }] = await Promise.all([
      import('./connection.js'),
      import('./daemon-api.js'),
    ]);
    const wanted = { ...this.#options, ...settings };
    return await PythonConnection.open((ending) => reachDaemon(wanted, ending), signal);
  }

  /**
   * Runs code in a Python process of its own, without a daemon. This isolates failures; it is no
   * sandbox.
   *
   * @throws {@link KtxError} `KTX_EXEC_FAILED` and `KTX_EXEC_TIMEOUT`, whose `details` are the
   * failure (`kind`, `message`, `traceback`) and the output so far; `KTX_RUNTIME_MISSING` when the
   * runtime was removed since {@link ensure}; `KTX_USAGE`; `KTX_ABORTED`.
   */
  async execute(code: string, options: ExecuteOptions = {}): Promise<ExecuteResult> {
    const { execute } = await import('./execute.js');
    const { outcome } = await execute({
      ...options,
      code,
      daemonExecutable: this.#daemonExecutable,
      env: this.#options.env,
      findDaemon: async () => await this.#findDaemon(),
    });
    return resultOf(outcome);
  }

  async #findDaemon(): Promise<string | undefined> {
    const { kind, manifest } = await readManagedPythonRuntimeStatus(this.#options);
    if (kind !== 'ready' || manifest === undefined) return undefined;
    this.#daemonExecutable = manifest.python.daemonExecutable;
    return this.#daemonExecutable;
  }
}

function resultOf(outcome: ExecuteOutcome): ExecuteResult {
  const { success, value, stdout, stderr, error, durationMs } = outcome;
  if (!success) throw outcomeError({ error, stdout, stderr, durationMs });
  return { value, stdout, stderr, durationMs };
}
