// Finds and loads the native addon of this machine's platform package, and when that fails says
// why: the first real error, then what helps on this machine.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type * as Native from '../native.js';
import { KtxError, messageOf } from './errors.js';
import { hostPlatform } from './host.js';

/** The loaded addon and where its package keeps the Python asset. */
export interface Addon {
  native: typeof Native;
  /** Directory of the asset that came with the addon. */
  assetDir: string;
}

/** Platforms that have a package. */
export const PLATFORMS = [
  'linux-x64-gnu',
  'linux-x64-musl',
  'linux-arm64-gnu',
  'linux-arm64-musl',
  'darwin-arm64',
  'darwin-x64',
  'win32-x64-msvc',
] as const;

let loaded: Addon | undefined;

/** Loads the addon, once; throws `KTX_ADDON_MISSING` or `KTX_ADDON_VERSION`. */
export function loadAddon(): Addon {
  loaded ??= load(hostPlatform());
  return loaded;
}

function load(platform: string): Addon {
  const packageName = packageOf(platform);
  let native: typeof Native | undefined;
  try {
    native = requirePlatformPackage(platform);
  } catch (error) {
    throw loadFailure(platform, error);
  }
  if (native === undefined) throw unsupported(platform);
  const version = native.version();
  if (version !== KTX_PACKAGE_VERSION) throw versionMismatch(packageName, version);
  const filter = process.env['KTX_LOG'];
  if (filter) native.trace(filter, (line) => process.stderr.write(`${line}\n`));
  return { native, assetDir: join(dirname(require.resolve(packageName)), 'python') };
}

// The build makes literals of the names, so that bundlers and file tracers see which packages belong
// to this one.
function requirePlatformPackage(platform: string): typeof Native | undefined {
  switch (platform) {
    case 'linux-x64-gnu':
      return require(KTX_PACKAGE_NAME + '-linux-x64-gnu');
    case 'linux-x64-musl':
      return require(KTX_PACKAGE_NAME + '-linux-x64-musl');
    case 'linux-arm64-gnu':
      return require(KTX_PACKAGE_NAME + '-linux-arm64-gnu');
    case 'linux-arm64-musl':
      return require(KTX_PACKAGE_NAME + '-linux-arm64-musl');
    case 'darwin-arm64':
      return require(KTX_PACKAGE_NAME + '-darwin-arm64');
    case 'darwin-x64':
      return require(KTX_PACKAGE_NAME + '-darwin-x64');
    case 'win32-x64-msvc':
      return require(KTX_PACKAGE_NAME + '-win32-x64-msvc');
    default:
      return undefined;
  }
}

function packageOf(platform: string): string {
  return `${KTX_PACKAGE_NAME}-${platform}`;
}

function unsupported(platform: string): KtxError {
  return new KtxError('KTX_ADDON_MISSING', `${KTX_PACKAGE_NAME} has no package for ${platform}`, {
    hint: `Run it on one of: ${PLATFORMS.join(', ')}; \`node -p process.arch\` shows what Node was built for`,
    details: { platform, supported: [...PLATFORMS] },
  });
}

function versionMismatch(packageName: string, actual: string): KtxError {
  const expected = KTX_PACKAGE_VERSION;
  return new KtxError(
    'KTX_ADDON_VERSION',
    `${packageName} is version ${actual}, and ${KTX_PACKAGE_NAME} ${expected} needs version ${expected}`,
    { hint: reinstallHint(`${packageName}@${expected}`), details: { packageName, expected, actual } },
  );
}

function loadFailure(platform: string, error: unknown): KtxError {
  const packageName = packageOf(platform);
  const packageDir = installedDir(packageName);
  const others = PLATFORMS.filter((other) => other !== platform && installedDir(packageOf(other)));
  const problem =
    packageDir === undefined
      ? `Cannot find the package ${packageName}`
      : `Cannot load the native addon in ${packageDir}: ${firstLine(messageOf(error))}`;
  return new KtxError('KTX_ADDON_MISSING', [problem, ...remarks(platform, packageDir, others)].join('\n'), {
    hint: solution(platform, packageDir, others),
    details: { platform, packageName, packageDir: packageDir ?? null, otherPlatforms: others },
    cause: error,
  });
}

function remarks(platform: string, packageDir: string | undefined, others: string[]): string[] {
  if (packageDir !== undefined || others.length === 0) return [];
  const found = `Found instead: ${others.map(packageOf).join(', ')}`;
  return [
    others.some((other) => sameButLibc(other, platform))
      ? `${found}, which is for another C library than this Node's`
      : `${found}, so node_modules was installed for another platform`,
  ];
}

function solution(platform: string, packageDir: string | undefined, others: string[]): string {
  if (packageDir === undefined && others.length > 0) {
    const [os, cpu, libc] = platform.split('-');
    const flags = `--os=${os} --cpu=${cpu}${os === 'linux' ? ` --libc=${libc === 'gnu' ? 'glibc' : libc}` : ''}`;
    return `Remove node_modules and install on this machine, or for it: ${installCommand(`${flags} ${KTX_PACKAGE_NAME}@${KTX_PACKAGE_VERSION}`)}`;
  }
  return reinstallHint(`${KTX_PACKAGE_NAME}@${KTX_PACKAGE_VERSION}`);
}

function sameButLibc(left: string, right: string): boolean {
  const [os, cpu] = left.split('-');
  return os === 'linux' && right.startsWith(`${os}-${cpu}-`);
}

function reinstallHint(spec: string): string {
  if (process.versions['pnp'] !== undefined) {
    return 'Run: yarn install (with this platform in `supportedArchitectures`)';
  }
  if (__dirname.includes('.pnpm')) {
    return 'Run: pnpm install --force (with optional dependencies and this platform in `supportedArchitectures`)';
  }
  return `Run: ${installCommand(spec)}`;
}

function installCommand(spec: string): string {
  return `npm install --include=optional ${spec}`;
}

// `require.resolve` cannot tell a missing package from one whose addon is missing.
function installedDir(packageName: string): string | undefined {
  const folders = require.resolve.paths(packageName) ?? [];
  return folders
    .map((folder) => join(folder, packageName))
    .find((folder) => existsSync(join(folder, 'package.json')));
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? text;
}
