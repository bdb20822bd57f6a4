// `ktx runtime start`, `stop` and `logs`: call a function of the daemon's API and say what came of it.
// Scripts read these words, so they stay as they are.
import {
  readManagedPythonDaemonStatus,
  startInstalledDaemon,
  stopAllManagedPythonDaemons,
  stopManagedPythonDaemon,
} from './daemon-api.js';
import type {
  DaemonStatus,
  StartDaemonOptions,
  StartedDaemon,
  StopDaemonResult,
  StoppedDaemon,
} from './daemon-types.js';
import { KtxError } from './errors.js';
import { ExitCode, type KtxIo, printJson, printLines } from './io.js';
import { readyRuntime } from './ready-runtime.js';
import type { KtxRuntimeDeps } from './runtime-commands.js';
import type { RuntimeFeature } from './types.js';

/** `ktx runtime start`. */
export interface RuntimeStartArgs {
  command: 'start';
  cliVersion: string;
  feature: RuntimeFeature;
  force: boolean;
  /** The project whose own daemon is meant; absent for the user's. */
  projectDir?: string;
  /** `--json`; absent when it was not given. */
  json?: boolean;
  /** `--yes`; absent when it was not given. */
  yes?: boolean;
  /** `false` for `--no-input`; absent when it was not given. */
  input?: boolean;
}

/** `ktx runtime stop`. */
export interface RuntimeStopArgs {
  command: 'stop';
  cliVersion: string;
  /** Every daemon, not only the user's or the project's of this version. */
  all: boolean;
  /** The project whose own daemon is meant; absent for the user's. */
  projectDir?: string;
  /** `--json`; absent when it was not given. */
  json?: boolean;
}

/** `ktx runtime logs`. */
export interface RuntimeLogsArgs {
  command: 'logs';
  cliVersion: string;
  /** Go on with what is written from now on. */
  follow: boolean;
  /** How many lines of what is there. */
  lines: number;
  /** The project whose own daemon is meant; absent for the user's. */
  projectDir?: string;
}

/** What a replacement returns. */
export type Answer<T> = T | Promise<T>;

/** Replacements for what the commands around the daemon call; what is absent is the real thing. */
export interface KtxDaemonDeps {
  /** Starts the daemon, and installs what it needs. */
  startDaemon?: (options: {
    cliVersion: string;
    features: RuntimeFeature[];
    force: boolean;
    projectDir?: string;
  }) => Answer<StartedDaemon>;
  stopDaemon?: (options: { cliVersion: string; projectDir?: string }) => Answer<StopDaemonResult>;
  stopAllDaemons?: (options: { cliVersion: string }) => Answer<StoppedDaemon[]>;
  readDaemonStatus?: (options: { cliVersion: string; projectDir?: string }) => Answer<DaemonStatus>;
}

/** Runs a command around the daemon and returns its exit code. */
export async function runDaemonCommand(
  args: RuntimeStartArgs | RuntimeStopArgs | RuntimeLogsArgs,
  io: KtxIo,
  deps: KtxRuntimeDeps,
): Promise<number> {
  switch (args.command) {
    case 'start':
      return await start(args, io, deps);
    case 'stop':
      return await stop(args, io, deps);
    case 'logs':
      return await logs(args, io, deps);
  }
}

async function start(args: RuntimeStartArgs, io: KtxIo, deps: KtxRuntimeDeps): Promise<number> {
  const options = { ...daemonOf(args), features: [args.feature], force: args.force };
  const started =
    deps.startDaemon === undefined
      ? await startAgreed(args, options, io, deps)
      : await deps.startDaemon(options);
  const { status, pid, endpoint, stateFile, version, features } = started;
  if (args.json === true) {
    printJson(io, { status, pid, endpoint, stateFile, version, features });
    return ExitCode.done;
  }
  printLines(io, [
    `${status === 'reused' ? 'Using existing' : 'Started'} KTX Python daemon`,
    `pid: ${pid}`,
    `endpoint: ${endpoint}`,
    `version: ${version}`,
    `features: ${features.join(', ')}`,
    `state file: ${stateFile}`,
  ]);
  return ExitCode.done;
}

// Starting may mean to install, which needs a yes.
async function startAgreed(
  { cliVersion, feature, yes = false, input = true }: RuntimeStartArgs,
  options: StartDaemonOptions,
  io: KtxIo,
  deps: KtxRuntimeDeps,
): Promise<StartedDaemon> {
  await readyRuntime({ cliVersion, feature, yes, input }, io, deps);
  return deps.interruptible === undefined
    ? await startInstalledDaemon(options)
    : await deps.interruptible((signal) => startInstalledDaemon({ ...options, signal }));
}

async function stop(args: RuntimeStopArgs, io: KtxIo, deps: KtxRuntimeDeps): Promise<number> {
  const { all, cliVersion } = args;
  const daemons = all
    ? await (deps.stopAllDaemons ?? stopAllManagedPythonDaemons)({ cliVersion })
    : (await (deps.stopDaemon ?? stopManagedPythonDaemon)(daemonOf(args))).stopped;
  const stopped = daemons.filter(({ status }) => status === 'stopped');
  if (args.json === true) {
    const status = stopped.length === 0 ? 'already-stopped' : 'stopped';
    printJson(io, { status, stopped: daemons });
    return ExitCode.done;
  }
  printLines(
    io,
    stopped.length === 0
      ? ['No KTX Python daemon is running']
      : stopped.flatMap((daemon) => stoppedLines(daemon, all)),
  );
  return ExitCode.done;
}

function stoppedLines({ pid, version, projectDir }: StoppedDaemon, all: boolean): string[] {
  const which = [`version: ${version}`, ...(projectDir === undefined ? [] : [`project: ${projectDir}`])];
  return ['Stopped KTX Python daemon', `pid: ${pid}`, ...(all ? which : [])];
}

async function logs(args: RuntimeLogsArgs, io: KtxIo, deps: KtxRuntimeDeps): Promise<number> {
  const read = deps.readDaemonStatus ?? readManagedPythonDaemonStatus;
  const { logPath, state } = await read(daemonOf(args));
  const path = logPath ?? state?.logPath;
  const { endOfLog, newInLog } = await import('./daemon-log.js');
  const end = path === undefined ? undefined : await endOfLog(path, args.lines);
  if (path === undefined || end === undefined) {
    const where = path === undefined ? '' : ` at ${path}`;
    throw new KtxError('KTX_IO', `There is no log of a KTX Python daemon${where}`, {
      hint: 'Run: ktx runtime start',
    });
  }
  io.stdout.write(end.text);
  if (!args.follow) return ExitCode.done;
  const follow = async (signal?: AbortSignal): Promise<number> => {
    for await (const text of newInLog(path, end, signal)) {
      io.stdout.write(text);
      if (io.stdout.gone === true) return ExitCode.unread;
    }
    return ExitCode.interrupted;
  };
  return deps.interruptible === undefined ? await follow() : await deps.interruptible(follow);
}

function daemonOf(args: { cliVersion: string; projectDir?: string }): {
  cliVersion: string;
  projectDir?: string;
} {
  const { cliVersion, projectDir } = args;
  return { cliVersion, ...(projectDir === undefined ? {} : { projectDir }) };
}
