// The shapes that the functions around the daemon take and return.
import type {
  Exec,
  InstallOptions,
  InstallResult,
  OnProgress,
  RuntimeFeature,
  RuntimeLayout,
  RuntimeOptions,
} from './types.js';

/** Which daemon is meant. */
export interface DaemonOptions extends RuntimeOptions {
  /** The project whose own daemon is meant. Default: the user's, which all programs share. */
  projectDir?: string | undefined;
}

/** How a daemon runs that has to be started; one that runs is used as it is. */
export interface DaemonSettings {
  /** It ends when nothing was run for so long; 0 for never. Default: 30 minutes. */
  idleTimeoutMs?: number | undefined;
  /** Memory that each process of a call may take, in bytes. Default: half of the machine's. */
  maxMemoryBytes?: number | undefined;
  /** Calls that run at once. Default: 4 for each processor, at least 16. */
  maxConcurrency?: number | undefined;
}

/** Options of {@link startManagedPythonDaemon}. */
export interface StartDaemonOptions extends DaemonOptions, DaemonSettings {
  /** Features that must be installed. Default: `['core']`. */
  features?: RuntimeFeature[] | undefined;
  /** End a daemon that runs, and start another. Default: `false`. */
  force?: boolean | undefined;
  /** Replaces how the runtime is installed. Default: {@link installManagedPythonRuntime}. */
  installRuntime?: ((options: InstallOptions) => InstallResult | Promise<InstallResult>) | undefined;
  /** Replaces how an installation runs child commands. */
  exec?: Exec | undefined;
  /** Called for every step of an installation. */
  onProgress?: OnProgress | undefined;
  /** Ends the installation or the start. */
  signal?: AbortSignal | undefined;
}

/** What `daemon.json` says of a daemon, without its token. */
export interface DaemonState {
  schemaVersion: 1;
  pid: number;
  /** When the process was started, in the system's own unit. */
  startTime: number;
  /** The boot of the machine that it was started in. */
  bootId: string;
  /** `unix:/path/to/socket` or `127.0.0.1:port`. */
  endpoint: string;
  /** The version of ktx that it belongs to. */
  version: string;
  wheelSha256: string;
  /** `core` first. */
  features: string[];
  /** ISO 8601. */
  startedAt: string;
  /** Absolute path of its log. */
  logPath: string;
  /** Absolute path of the environment that it runs in. */
  environment: string;
  /** The project that it belongs to; absent for the user's. */
  projectDir?: string;
  /** The version of its protocol. */
  protocol: number;
}

/** @internal How a daemon is called. */
export interface DaemonAccess {
  /** `unix:/path/to/socket`, `127.0.0.1:4711` or `[::1]:4711`. */
  endpoint: string;
  /** Sent with every call; a secret. */
  token: string;
}

/** A daemon that runs. */
export interface StartedDaemon {
  /** `reused` when it ran already. */
  status: 'started' | 'reused';
  layout: RuntimeLayout;
  state: DaemonState;
  /** Absolute path of `daemon.json`, which holds the token too. */
  stateFile: string;
  /** `unix:/path/to/socket` or `127.0.0.1:port`. */
  endpoint: string;
  pid: number;
  version: string;
  features: string[];
}

/** State of a daemon. */
export interface DaemonStatus {
  /** `stale` has a state file and is not a daemon that answers. */
  kind: 'stopped' | 'running' | 'stale';
  /** The state in words. */
  detail: string;
  layout: RuntimeLayout;
  /** Present when there is one that can be read. */
  state?: DaemonState;
  /** Absolute path of `daemon.json`; absent while no runtime is installed. */
  stateFile?: string;
  /** Absolute path of its log; absent while no runtime is installed. */
  logPath?: string;
}

/** A daemon that was asked to end. */
export interface StoppedDaemon {
  /** `already-stopped` when only its files were there. */
  status: 'stopped' | 'already-stopped';
  pid: number;
  endpoint: string;
  stateFile: string;
  version: string;
  /** The project that it belonged to; absent for the user's. */
  projectDir?: string;
}

/** What {@link stopManagedPythonDaemon} did. */
export interface StopDaemonResult {
  /** `stopped` if one of them ran. */
  status: 'stopped' | 'already-stopped';
  layout: RuntimeLayout;
  /** Each has ended, which was seen. */
  stopped: StoppedDaemon[];
}
