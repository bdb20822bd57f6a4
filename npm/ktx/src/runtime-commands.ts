// The `ktx runtime` commands: call a function of the runtime API and say what came of it. Scripts
// read these words, so they stay as they are.
import {
  doctorManagedPythonRuntime,
  installManagedPythonRuntime,
  pruneManagedPythonRuntimes,
  readManagedPythonRuntimeStatus,
} from './runtime-api.js';
import { readManagedPythonDaemonStatus } from './daemon-api.js';
import type {
  Answer,
  KtxDaemonDeps,
  RuntimeLogsArgs,
  RuntimeStartArgs,
  RuntimeStopArgs,
} from './daemon-commands.js';
import type { DaemonStatus } from './daemon-types.js';
import { ExitCode, type KtxIo, hasColors, printJson, printLines, reportFailure } from './io.js';
import type {
  DoctorCheck,
  InstallResult,
  OnProgress,
  PruneResult,
  RuntimeFeature,
  RuntimeStatus,
} from './types.js';

/** `ktx runtime install`. */
export interface RuntimeInstallArgs {
  command: 'install';
  cliVersion: string;
  feature: RuntimeFeature;
  force: boolean;
  /** `--json`; absent when it was not given. */
  json?: boolean;
  /** `--yes`; absent when it was not given. */
  yes?: boolean;
  /** `false` for `--no-input`; absent when it was not given. */
  input?: boolean;
}

/** `ktx runtime status` and `ktx runtime doctor`. */
export interface RuntimeReadArgs {
  command: 'status' | 'doctor';
  cliVersion: string;
  json: boolean;
  /** The project whose daemon `status` looks at; absent for the user's. */
  projectDir?: string;
}

/** `ktx runtime prune`. */
export interface RuntimePruneArgs {
  command: 'prune';
  cliVersion: string;
  dryRun: boolean;
  yes: boolean;
  /** `false` for `--no-input`; absent when it was not given. */
  input?: boolean;
}

/** What a `ktx runtime` command was asked to do. */
export type KtxRuntimeArgs =
  | RuntimeInstallArgs
  | RuntimeReadArgs
  | RuntimePruneArgs
  | RuntimeStartArgs
  | RuntimeStopArgs
  | RuntimeLogsArgs;

/** Replacements for what the commands call; what is absent is the real thing. */
export interface KtxRuntimeDeps extends KtxDaemonDeps {
  installRuntime?: (options: {
    cliVersion: string;
    features: RuntimeFeature[];
    force: boolean;
    /** Only where stderr is a terminal. */
    onProgress?: OnProgress;
  }) => Answer<InstallResult>;
  readStatus?: (options: { cliVersion: string }) => Answer<RuntimeStatus>;
  doctorRuntime?: (options: { cliVersion: string }) => Answer<DoctorCheck[]>;
  pruneRuntime?: (options: {
    cliVersion: string;
    runtimeRoot: string;
    dryRun: boolean;
  }) => Answer<PruneResult>;
  /**
   * Lends a signal to work that can be ended half-way, for as long as it runs. Default: the work
   * runs to its end.
   */
  interruptible?: <T>(work: (signal: AbortSignal) => Promise<T>) => Promise<T>;
}

/**
 * Runs one `ktx runtime` command and returns its exit code; never throws.
 */
export async function runKtxRuntime(
  args: KtxRuntimeArgs,
  io: KtxIo = process,
  deps: KtxRuntimeDeps = {},
): Promise<number> {
  try {
    switch (args.command) {
      case 'install':
        return await install(args, io, deps);
      case 'status':
        return await status(args, io, deps);
      case 'doctor':
        return await doctor(args, io, deps);
      case 'prune':
        return await prune(args, io, deps);
      case 'start':
      case 'stop':
      case 'logs': {
        const { runDaemonCommand } = await import('./daemon-commands.js');
        return await runDaemonCommand(args, io, deps);
      }
    }
  } catch (error) {
    return reportFailure(error, io);
  }
}

/** Installs a feature, showing progress where stderr is a terminal. */
export async function installFeature(
  wanted: { cliVersion: string; feature: RuntimeFeature; force: boolean },
  io: KtxIo,
  deps: KtxRuntimeDeps,
): Promise<InstallResult> {
  const { cliVersion, feature, force } = wanted;
  const installRuntime =
    deps.installRuntime ??
    ((options) =>
      deps.interruptible === undefined
        ? installManagedPythonRuntime(options)
        : deps.interruptible((signal) => installManagedPythonRuntime({ ...options, signal })));
  const options = { cliVersion, features: [feature], force };
  if (io.stderr.isTTY !== true) return await installRuntime(options);
  const { createInstallProgress } = await import('./progress.js');
  const progress = createInstallProgress(io.stderr);
  try {
    const result = await installRuntime({ ...options, onProgress: progress.onProgress });
    progress.close('done');
    return result;
  } catch (error) {
    progress.close('failed');
    throw error;
  }
}

async function install(
  args: RuntimeInstallArgs,
  io: KtxIo,
  deps: KtxRuntimeDeps,
): Promise<number> {
  const result = await installFeature(args, io, deps);
  if (args.json === true) {
    printJson(io, result);
    return ExitCode.done;
  }
  const { manifest, layout } = result;
  printLines(io, [
    `${result.status === 'ready' ? 'Using existing' : 'Installed'} KTX Python runtime`,
    `version: ${layout.cliVersion}`,
    `features: ${manifest.features.join(', ')}`,
    `python: ${manifest.python.executable}`,
    `daemon: ${manifest.python.daemonExecutable}`,
    `manifest: ${layout.manifestPath}`,
    `install log: ${manifest.installLog}`,
  ]);
  return ExitCode.done;
}

async function status(args: RuntimeReadArgs, io: KtxIo, deps: KtxRuntimeDeps): Promise<number> {
  const found = await readStatus(args.cliVersion, deps);
  const daemon = await readDaemonStatus(args, deps);
  if (args.json) {
    const { layout: _same, ...state } = daemon ?? {};
    printJson(io, daemon === undefined ? found : { ...found, daemon: state });
    return ExitCode.done;
  }
  const { manifest, layout } = found;
  printLines(io, [
    'KTX Python runtime',
    `status: ${found.kind}`,
    `detail: ${found.detail}`,
    `runtime root: ${layout.runtimeRoot}`,
    `version dir: ${layout.versionDir}`,
    ...(manifest === undefined
      ? []
      : [
          `features: ${manifest.features.join(', ')}`,
          `python: ${manifest.python.executable}`,
          `daemon: ${manifest.python.daemonExecutable}`,
        ]),
    ...(daemon === undefined || daemon.kind === 'stopped' ? [] : daemonLines(daemon)),
  ]);
  return ExitCode.done;
}

function daemonLines({ kind, detail, state, stateFile }: DaemonStatus): string[] {
  return [
    `daemon status: ${kind}`,
    `daemon detail: ${detail}`,
    ...(state === undefined ? [] : [`daemon pid: ${state.pid}`, `daemon endpoint: ${state.endpoint}`]),
    ...(stateFile === undefined ? [] : [`daemon state file: ${stateFile}`]),
  ];
}

// What stands in for a runtime has no daemon, unless something stands in for that too.
async function readDaemonStatus(
  { cliVersion, projectDir }: RuntimeReadArgs,
  deps: KtxRuntimeDeps,
): Promise<DaemonStatus | undefined> {
  const read = deps.readDaemonStatus ?? (deps.readStatus === undefined ? readManagedPythonDaemonStatus : undefined);
  return await read?.({ cliVersion, ...(projectDir === undefined ? {} : { projectDir }) });
}

/** Reads the state of a version's runtime. */
export async function readStatus(cliVersion: string, deps: KtxRuntimeDeps): Promise<RuntimeStatus> {
  return await (deps.readStatus ?? readManagedPythonRuntimeStatus)({ cliVersion });
}

async function doctor(args: RuntimeReadArgs, io: KtxIo, deps: KtxRuntimeDeps): Promise<number> {
  const { cliVersion } = args;
  const checks = await (deps.doctorRuntime ?? doctorManagedPythonRuntime)({ cliVersion });
  if (args.json) printJson(io, { checks });
  else printLines(io, ['KTX Python runtime doctor', ...(await checkLines(checks, io))]);
  return checks.some((check) => check.status === 'fail') ? ExitCode.failed : ExitCode.done;
}

async function checkLines(checks: DoctorCheck[], io: KtxIo): Promise<string[]> {
  const { default: picocolors } = await import('picocolors');
  const { green, red } = picocolors.createColors(hasColors(io.stdout));
  return checks.flatMap(({ status, label, detail, fix }) => [
    `${status === 'pass' ? green('PASS') : red('FAIL')} ${label}: ${detail}`,
    ...(fix === undefined ? [] : [`  Fix: ${fix}`]),
  ]);
}

async function prune(args: RuntimePruneArgs, io: KtxIo, deps: KtxRuntimeDeps): Promise<number> {
  const { cliVersion, dryRun, yes } = args;
  if (!dryRun && !yes) {
    io.stderr.write(
      'Refusing to prune without --yes. Preview with: ktx runtime prune --dry-run\n',
    );
    return ExitCode.failed;
  }
  const { runtimeRoot } = (await readStatus(cliVersion, deps)).layout;
  const pruned = await (deps.pruneRuntime ?? pruneManagedPythonRuntimes)({
    cliVersion,
    runtimeRoot,
    dryRun,
  });
  const paths = dryRun ? pruned.stale : pruned.removed;
  printLines(
    io,
    paths.length === 0
      ? [`No stale KTX Python runtimes under ${runtimeRoot}`]
      : [`${dryRun ? 'Stale' : 'Removed stale'} KTX Python runtimes`, ...paths],
  );
  return ExitCode.done;
}
