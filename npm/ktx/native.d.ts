/** Where a runtime is, was or would be. */
export interface Layout {
  cliVersion: string
  runtimeRoot: string
  versionDir: string
  venvDir: string
  manifestPath: string
  installLogPath: string
  assetDir: string
  assetManifestPath: string
  pythonPath: string
  daemonPath: string
}

export interface LayoutOptions {
  cliVersion: string
  platform?: string
  env: Record<string, string>
  homeDir?: string
  runtimeRoot?: string
  assetDir?: string
  defaultAssetDir?: string
  platformPackage?: string
}

export interface InstallOptions extends LayoutOptions {
  features: string[]
  force?: boolean
}

export interface PruneOptions {
  cliVersion: string
  runtimeRoot: string
  dryRun?: boolean
}

export interface ProgressEvent {
  preset: string
  state: string
  detail?: string
  bytes?: number
  totalBytes?: number
}

export interface ExecRequest {
  command: string
  args: string[]
  cwd?: string
  env: Record<string, string>
}

export interface ExecReply {
  ok: boolean
  stdout: string
  stderr: string
  message?: string
}

export interface Hooks {
  onProgress?: (event: ProgressEvent) => void
  exec?: (request: ExecRequest) => Promise<ExecReply>
  cancellation?: Cancellation
}

export declare class Cancellation {
  constructor()
  cancel(): void
}

export declare function version(): string
export declare function layout(options: LayoutOptions): Layout
export declare function verifyAsset(assetDir: string): Promise<any>
export declare function status(options: LayoutOptions): Promise<any>
export declare function install(options: InstallOptions, hooks: Hooks): Promise<any>
export declare function doctor(options: LayoutOptions, hooks: Hooks): Promise<any>
export declare function prune(options: PruneOptions): Promise<any>
