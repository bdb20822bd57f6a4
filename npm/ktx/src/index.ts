// What importing the package gives.
export { type KtxCliDeps, runKtxCli } from './cli.js';
export type { PythonConnection } from './connection.js';
export type * from './connection-types.js';
export {
  readManagedPythonDaemonStatus,
  startManagedPythonDaemon,
  stopAllManagedPythonDaemons,
  stopManagedPythonDaemon,
} from './daemon-api.js';
export type * from './daemon-types.js';
export { KtxError, type KtxErrorOptions } from './ktx-error.js';
export type { ExecArgs, KtxExecDeps } from './exec-command.js';
export type {
  KtxDaemonDeps,
  RuntimeLogsArgs,
  RuntimeStartArgs,
  RuntimeStopArgs,
} from './daemon-commands.js';
export type { KtxIo, KtxOutput } from './io.js';
export type { ExecuteFailure } from './outcome.js';
export { getKtxCliPackageInfo, type KtxCliPackageInfo } from './package-info.js';
export {
  type ConnectOptions,
  type EnsureOptions,
  type ExecuteOptions,
  type ExecuteResult,
  PythonRuntime,
} from './python-runtime.js';
export {
  doctorManagedPythonRuntime,
  installManagedPythonRuntime,
  managedPythonRuntimeLayout,
  pruneManagedPythonRuntimes,
  readManagedPythonRuntimeStatus,
  verifyRuntimeAsset,
} from './runtime-api.js';
export {
  type KtxRuntimeArgs,
  type KtxRuntimeDeps,
  runKtxRuntime,
  type RuntimeInstallArgs,
  type RuntimePruneArgs,
  type RuntimeReadArgs,
} from './runtime-commands.js';
export type { PythonSession } from './session.js';
export type * from './types.js';
