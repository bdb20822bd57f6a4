// The shapes that the functions of this package take and return, in one place because the CLI,
// the compatible functions and the classes all speak them.

/** An install level of the runtime: `core` is always there, the rest adds to it. */
export type RuntimeFeature = 'core' | 'local-embeddings';

/** What decides where a runtime is. */
export interface RuntimeOptions {
  /** Version whose runtime is meant; the package's own is `getKtxCliPackageInfo().version`. */
  cliVersion: string;
  /** Platform to compute paths for, as in `process.platform`. Default: the host's. */
  platform?: string | undefined;
  /** Environment to read `KTX_*`, home and data directories from. Default: `process.env`. */
  env?: Record<string, string | undefined> | undefined;
  /** Home directory. Default: the user's. */
  homeDir?: string | undefined;
  /** Directory that holds every runtime. Default: `KTX_RUNTIME_ROOT`, else per platform. */
  runtimeRoot?: string | undefined;
  /** Directory with the wheel and its manifest. Default: `KTX_ASSET_DIR`, else the installed one. */
  assetDir?: string | undefined;
}

/** Absolute paths of one version's runtime. */
export interface RuntimeLayout {
  cliVersion: string;
  runtimeRoot: string;
  versionDir: string;
  venvDir: string;
  manifestPath: string;
  installLogPath: string;
  assetDir: string;
  assetManifestPath: string;
  pythonPath: string;
  daemonPath: string;
}

/** Name, digest and length of a file that the asset carries. */
export interface AssetFile {
  file: string;
  /** Lower-case hexadecimal SHA-256. */
  sha256: string;
  bytes: number;
}

/** `manifest.json` beside the wheel; keys that are not listed are kept as they are. */
export interface AssetManifest {
  schemaVersion: 1;
  distributionName: string;
  normalizedName: string;
  version: string;
  wheel: AssetFile;
  /** Python versions that the wheel accepts, for example `>=3.10`. */
  requiresPython?: string;
  /** Hash-locked dependencies of the wheel. */
  lock?: AssetFile;
  /** Modules that must be importable, per feature. */
  probe?: { imports: Record<string, string[]> };
  [key: string]: unknown;
}

/** An asset whose bytes match its manifest. */
export interface VerifiedAsset {
  manifest: AssetManifest;
  /** Absolute path of the wheel. */
  wheelPath: string;
}

/** `manifest.json` of a runtime; it is written last, so that its presence means ready. */
export interface RuntimeManifest {
  schemaVersion: 1;
  cliVersion: string;
  /** ISO 8601. */
  installedAt: string;
  asset: AssetManifest;
  /** `core` first. */
  features: string[];
  python: {
    /** Absolute path of the interpreter. */
    executable: string;
    /** Absolute path of `ktx-daemon`. */
    daemonExecutable: string;
  };
  /** Absolute path of the log of the installation. */
  installLog: string;
  [key: string]: unknown;
}

/** What an installation is doing. */
export interface ProgressEvent {
  /** The step: `lock`, `uv`, `python`, `venv`, `packages`, `probe` or `publish`. */
  preset: string;
  state: 'started' | 'progress' | 'finished';
  /** What is being done, in words. */
  detail?: string;
  /** Bytes done so far, where they are known. */
  bytes?: number;
  /** Bytes in all, where they are known. */
  totalBytes?: number;
}

/** Called for every step of an installation; what it throws ends the installation. */
export type OnProgress = (event: ProgressEvent) => void;

/**
 * Runs a child command in place of this package. A rejection is a command that failed; the error
 * may carry `stdout` and `stderr`.
 */
export type Exec = (
  command: string,
  args: string[],
  options: { cwd?: string; env?: Record<string, string> },
) => Promise<{ stdout: string; stderr: string }>;

/** What to install, and how. */
export interface InstallOptions extends RuntimeOptions {
  /** Features to install; `core` is implied. */
  features: RuntimeFeature[];
  /** Build a new environment although the present one is ready. Default: `false`. */
  force?: boolean | undefined;
  /** Replaces how child commands are run. */
  exec?: Exec | undefined;
  /** Called for every step. */
  onProgress?: OnProgress | undefined;
  /** Ends the installation and removes what it began. */
  signal?: AbortSignal | undefined;
}

/** An installed runtime. */
export interface InstallResult {
  /** `ready` when nothing had to be done. */
  status: 'ready' | 'installed';
  layout: RuntimeLayout;
  asset: VerifiedAsset;
  manifest: RuntimeManifest;
}

/** State of one version's runtime. */
export interface RuntimeStatus {
  /** `mismatched` belongs to another version of this package; `broken` cannot run. */
  kind: 'missing' | 'ready' | 'mismatched' | 'broken';
  /** The state in words. */
  detail: string;
  layout: RuntimeLayout;
  /** Present when there is one that can be read. */
  manifest?: RuntimeManifest;
}

/** Options of {@link doctorManagedPythonRuntime}. */
export interface DoctorOptions extends RuntimeOptions {
  /** Replaces how child commands are run. */
  exec?: Exec | undefined;
}

/** One finding of the doctor. */
export interface DoctorCheck {
  /** `uv`, `asset` or `runtime`. */
  id: string;
  label: string;
  status: 'pass' | 'fail';
  detail: string;
  /** The command that repairs it; present on failure. */
  fix?: string;
}

/** Options of {@link pruneManagedPythonRuntimes}. */
export interface PruneOptions {
  /** Version whose runtime stays. */
  cliVersion: string;
  /** Directory that holds every runtime. */
  runtimeRoot: string;
  /** List what would be removed and remove nothing. Default: `false`. */
  dryRun?: boolean | undefined;
}

/** What pruning found and did; absolute paths of version directories. */
export interface PruneResult {
  runtimeRoot: string;
  /** Not the current version, and not used by a live daemon. */
  stale: string[];
  kept: string[];
  /** Empty after a dry run. */
  removed: string[];
}
