// What `import '@scope/ktx'` gives.
export { type KtxCliDeps, runKtxCli } from './cli.js';
export { KtxError, type KtxErrorOptions } from './errors.js';
export type { KtxExecDeps } from './exec-command.js';
export type { KtxIo, KtxOutput } from './io.js';
export { getKtxCliPackageInfo, type KtxCliPackageInfo } from './package-info.js';
export {
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
export type * from './types.js';
