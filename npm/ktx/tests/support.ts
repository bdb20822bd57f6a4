// What several test files need: a directory of their own, a captured io, and the real `ktx`.
import { spawn } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { InstallResult, KtxIo, RuntimeLayout, RuntimeManifest } from '../src/index.js';

export const DIST = join(import.meta.dirname, '..', 'dist');
export const CLI = join(DIST, 'cli.cjs');

/** A directory that is gone after the test; its name is awkward on purpose. */
export function temporaryDirectory(): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "ktx tést's % [x] ")));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Streams that keep what is written; terminals only where asked for. */
export function capturedIo(terminal = false): { io: KtxIo; stdout: () => string; stderr: () => string } {
  const written = { stdout: '', stderr: '' };
  const output = (name: 'stdout' | 'stderr') => ({
    write: (text: string) => {
      written[name] += text;
    },
    ...(terminal ? { isTTY: true } : {}),
  });
  return {
    io: { stdout: output('stdout'), stderr: output('stderr') },
    stdout: () => written.stdout,
    stderr: () => written.stderr,
  };
}

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Runs the built `ktx` in a home of its own. */
export async function ktx(
  args: string[],
  options: { env?: Record<string, string>; cwd?: string; stdin?: string; cli?: string } = {},
): Promise<Finished> {
  const home = temporaryDirectory();
  const child = spawn(process.execPath, [options.cli ?? CLI, ...args], {
    cwd: options.cwd ?? home,
    env: { PATH: process.env['PATH'], HOME: home, XDG_DATA_HOME: join(home, 'data'), ...options.env },
    stdio: 'pipe',
  });
  child.stdin.on('error', () => {});
  child.stdin.end(options.stdin ?? '');
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

export const layout: RuntimeLayout = {
  cliVersion: '1.2.3',
  runtimeRoot: '/runtime',
  versionDir: '/runtime/1.2.3',
  venvDir: '/runtime/1.2.3/.venv',
  manifestPath: '/runtime/1.2.3/manifest.json',
  installLogPath: '/runtime/1.2.3/install.log',
  assetDir: '/asset',
  assetManifestPath: '/asset/manifest.json',
  pythonPath: '/runtime/1.2.3/.venv/bin/python',
  daemonPath: '/runtime/1.2.3/.venv/bin/ktx-daemon',
};

export function manifest(features = ['core']): RuntimeManifest {
  return {
    schemaVersion: 1,
    cliVersion: '1.2.3',
    installedAt: '2026-01-02T03:04:05.000Z',
    asset: {
      schemaVersion: 1,
      distributionName: 'kaelio-ktx',
      normalizedName: 'kaelio_ktx',
      version: '1.2.3',
      wheel: { file: 'w.whl', sha256: '00', bytes: 1 },
    },
    features,
    python: { executable: layout.pythonPath, daemonExecutable: layout.daemonPath },
    installLog: layout.installLogPath,
  };
}

export function installed(status: 'ready' | 'installed', features?: string[]): InstallResult {
  const found = manifest(features);
  return {
    status,
    layout,
    asset: { manifest: found.asset, wheelPath: '/asset/w.whl' },
    manifest: found,
  };
}
