// Once per run: installs the packed packages with npm, and lets ktx fetch uv and fill a cache, so
// that the tests need the network only where the network is what they test.
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

/** What every test starts from. */
export interface Suite {
  /** Holds everything that the tests write. */
  directory: string;
  /** A project with the packages in its `node_modules`. */
  project: string;
  /** A PATH on which there is no uv. */
  path: string;
  /** How this machine reaches a package index. */
  network: Record<string, string>;
  /** A runtime root in which uv is kept and the cache is filled. */
  seed: string;
  version: string;
  /** Name of the package that people install, with the scope. */
  packageName: string;
}

declare module 'vitest' {
  export interface ProvidedContext {
    suite: Suite;
  }
}

const CHECKOUT = join(import.meta.dirname, '..', '..');
const NETWORK =
  /^(UV_DEFAULT_INDEX|UV_INDEX_URL|PIP_INDEX_URL|(https?|all|no)_proxy|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|PIP_CERT|REQUESTS_CA_BUNDLE)$/i;

export default function setup({ provide }: TestProject): () => void {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'ktx-e2e-')));
  const path = join(directory, 'bin');
  linkPrograms(path);
  const project = join(directory, 'project');
  const policy = read('release/policy.json');
  const packageName = `${policy['scope']}/${policy['package']}`;
  const { version = '' } = read('npm/ktx/package.json');
  installPackages(project, directory, { packageName, version });
  const network = Object.fromEntries(
    Object.entries(process.env).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && NETWORK.test(entry[0]),
    ),
  );
  const seed = join(directory, 'seed');
  execFileSync(join(path, 'node'), [join(project, 'node_modules/.bin/ktx'), 'runtime', 'install'], {
    cwd: project,
    env: { ...network, PATH: path, HOME: directory, KTX_RUNTIME_ROOT: seed },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  provide('suite', { directory, project, path, network, seed, version, packageName });
  return () => {
    // A mount that a test left behind is somebody's files.
    execFileSync('rm', ['-rf', '--one-file-system', directory]);
  };
}

// uv may lie in any directory of the machine's PATH, beside programs that are needed.
function linkPrograms(directory: string): void {
  mkdirSync(directory);
  const python = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], {
    encoding: 'utf8',
  });
  symlinkSync(process.execPath, join(directory, 'node'));
  symlinkSync(realpathSync(python.trim()), join(directory, 'python3'));
  symlinkSync('/bin/sh', join(directory, 'sh'));
}

// Offline and with an empty home: the packages need nothing from anywhere.
function installPackages(
  project: string,
  home: string,
  { packageName, version }: { packageName: string; version: string },
): void {
  const packs = process.env['KTX_TEST_PACKS'] ?? join(CHECKOUT, 'target/ktx/packs');
  // Those of other names and versions may lie beside them.
  const start = packageName.replace('@', '').replace('/', '-');
  const tarballs = existsSync(packs)
    ? readdirSync(packs).filter(
        (name) => name.startsWith(`${start}-`) && name.endsWith(`-${version}.tgz`),
      )
    : [];
  if (tarballs.length === 0) {
    throw new Error(`No packages in ${packs}; run: cargo xtask npm --host-only --out ${packs}`);
  }
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{ "private": true }\n');
  execFileSync(
    'npm',
    ['install', '--offline', '--ignore-scripts', '--no-update-notifier', '--loglevel=error'].concat(
      tarballs.map((name) => join(packs, name)),
    ),
    {
      cwd: project,
      env: { PATH: process.env['PATH'], HOME: home },
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
}

function read(path: string): Record<string, string> {
  return JSON.parse(readFileSync(join(CHECKOUT, path), 'utf8')) as Record<string, string>;
}
