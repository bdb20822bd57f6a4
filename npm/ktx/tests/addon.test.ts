// The runtime API over the built addon: what JavaScript adds to it, and what crosses in between.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, it, vi } from 'vitest';
import { CLI, DIST, temporaryDirectory } from './support.js';

const require = createRequire(import.meta.url);
const api: typeof import('../src/index.js') = require(join(DIST, 'index.cjs'));
const cliVersion = api.getKtxCliPackageInfo().version;

/** An asset with a manifest as small as it may be, and options that keep to one directory. */
function sandbox() {
  const directory = temporaryDirectory();
  const assetDir = join(directory, 'asset');
  mkdirSync(assetDir);
  const file = `kaelio_ktx-${cliVersion}-py3-none-any.whl`;
  const wheel = Buffer.from('not a zip file');
  writeFileSync(join(assetDir, file), wheel);
  writeFileSync(
    join(assetDir, 'manifest.json'),
    JSON.stringify({
      schemaVersion: 1,
      distributionName: 'kaelio-ktx',
      normalizedName: 'kaelio_ktx',
      version: cliVersion,
      wheel: { file, sha256: createHash('sha256').update(wheel).digest('hex'), bytes: wheel.length },
      extra: { kept: true },
    }),
  );
  const env = { PATH: process.env['PATH'], HOME: directory };
  return { cliVersion, assetDir, env, runtimeRoot: join(directory, 'root') };
}

const exec = () =>
  vi.fn(async (_command: string, args: string[]) => ({
    stdout: args[0] === '--version' ? 'uv 0.9.5\n' : '',
    stderr: '',
  }));

describe('the layout', () => {
  it('is computed for any platform, with the documented keys only', () => {
    const options = { cliVersion, platform: 'darwin', homeDir: '/Users/a', env: { X: undefined } };
    const layout = api.managedPythonRuntimeLayout(options);
    expect(Object.keys(layout)).toEqual([
      'cliVersion',
      'runtimeRoot',
      'versionDir',
      'venvDir',
      'manifestPath',
      'installLogPath',
      'assetDir',
      'assetManifestPath',
      'pythonPath',
      'daemonPath',
    ]);
    expect(layout.runtimeRoot).toBe('/Users/a/Library/Application Support/kaelio/ktx/runtime');
  });

  it('refuses what is not the declared type', () => {
    expect(() => api.managedPythonRuntimeLayout({ cliVersion: 1 as never })).toThrow(
      expect.objectContaining({ name: 'KtxError', code: 'KTX_USAGE' }),
    );
  });
});

describe('an installation', () => {
  it('runs the three commands, tells of its steps and is ready afterwards', async () => {
    const options = sandbox();
    const run = exec();
    const presets: string[] = [];
    const result = await api.installManagedPythonRuntime({
      ...options,
      features: ['local-embeddings'],
      exec: run,
      onProgress: ({ preset, state }) => presets.push(`${preset} ${state}`),
    });
    const { layout, asset } = result;
    expect(run.mock.calls.map(([command, args]) => [command, ...args])).toEqual([
      ['uv', '--version'],
      ['uv', 'venv', layout.venvDir],
      ['uv', 'pip', 'install', '--python', layout.pythonPath, `${asset.wheelPath}[local-embeddings]`],
    ]);
    expect(result).toMatchObject({ status: 'installed', manifest: { features: ['core', 'local-embeddings'] } });
    expect(asset.manifest['extra']).toEqual({ kept: true });
    expect(presets).toContain('packages started');
    expect(JSON.parse(readFileSync(layout.manifestPath, 'utf8'))).toEqual(result.manifest);
  });

  it('fails with what a rejected command said', async () => {
    const options = sandbox();
    const failure = Object.assign(new Error('exit 1'), { stdout: 'out', stderr: 'resolver says no' });
    const run = vi.fn(async (_command: string, args: string[]) => {
      if (args[0] === 'pip') throw failure;
      return { stdout: 'uv 0.9.5', stderr: '' };
    });
    const error = await api
      .installManagedPythonRuntime({ ...options, features: ['core'], exec: run })
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(api.KtxError);
    expect(error).toMatchObject({ code: 'KTX_INSTALL_FAILED', logPath: expect.any(String) });
    const { logPath = '' } = error as InstanceType<typeof api.KtxError>;
    expect(readFileSync(logPath, 'utf8')).toContain('resolver says no');
  });

  it('does not begin with a signal that is already aborted', async () => {
    const options = sandbox();
    const run = exec();
    const reason = new Error('enough');
    await expect(
      api.installManagedPythonRuntime({
        ...options,
        features: ['core'],
        exec: run,
        signal: AbortSignal.abort(reason),
      }),
    ).rejects.toMatchObject({ name: 'KtxError', code: 'KTX_ABORTED', cause: reason });
    expect(run).not.toHaveBeenCalled();
    expect(existsSync(options.runtimeRoot)).toBe(false);
  });

  it('ends when its signal is aborted, and lets go of the signal', async () => {
    const options = sandbox();
    const controller = new AbortController();
    const removed = vi.spyOn(controller.signal, 'removeEventListener');
    const run = vi.fn(async (_command: string, args: string[]) => {
      if (args[0] === 'venv') controller.abort('enough');
      return { stdout: 'uv 0.9.5', stderr: '' };
    });
    await expect(
      api.installManagedPythonRuntime({
        ...options,
        features: ['core'],
        exec: run,
        signal: controller.signal,
      }),
    ).rejects.toMatchObject({ code: 'KTX_ABORTED', cause: 'enough' });
    expect(removed).toHaveBeenCalled();
    expect((await api.readManagedPythonRuntimeStatus(options)).kind).toBe('missing');
  });

  it('is ended by a progress callback that throws, with what it threw', async () => {
    const thrown = new TypeError('mine');
    await expect(
      api.installManagedPythonRuntime({
        ...sandbox(),
        features: ['core'],
        exec: exec(),
        onProgress: () => {
          throw thrown;
        },
      }),
    ).rejects.toBe(thrown);
  });
});

describe('the package', () => {
  it('is one instance for require and import', () => {
    // In a Node of its own: the test runner has module loading of its own.
    const script = `import { createRequire } from 'node:module';
      import * as imported from ${JSON.stringify(pathToFileURL(join(DIST, 'index.mjs')))};
      const required = createRequire('/')(${JSON.stringify(join(DIST, 'index.cjs'))});
      const keys = Object.keys(required);
      console.log(keys.length, keys.every((key) => imported[key] === required[key]));`;
    const printed = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    expect(printed).toBe(`${Object.keys(api).length} true\n`);
  });

  it('works in a worker thread beside the main one', async () => {
    const code = `const { parentPort, workerData } = require('node:worker_threads');
      const { readManagedPythonRuntimeStatus } = require(workerData.index);
      readManagedPythonRuntimeStatus(workerData.options).then(({ kind }) => parentPort.postMessage(kind));`;
    const workerData = { index: join(DIST, 'index.cjs'), options: sandbox() };
    const workers = [1, 2].map(() => new Worker(code, { eval: true, workerData }));
    const kinds = await Promise.all(workers.map((worker) => once(worker, 'message')));
    expect(kinds).toEqual([['missing'], ['missing']]);
    await Promise.all(workers.map((worker) => worker.terminate()));
  });
});

describe.skipIf(process.platform === 'win32')('signals (Windows has none)', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s ends an installation and its children with %i', async (signal, code) => {
    const { env, assetDir, runtimeRoot } = sandbox();
    const started = join(assetDir, 'started');
    const uv = join(assetDir, 'uv');
    const script = '#!/bin/sh\ncd "${0%/*}" && echo $$ > new && mv new started && exec sleep 60\n';
    writeFileSync(uv, script, { mode: 0o755 });
    const child = spawn(process.execPath, [CLI, 'runtime', 'install'], {
      env: { ...env, KTX_ASSET_DIR: assetDir, KTX_RUNTIME_ROOT: runtimeRoot, KTX_UV: uv },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const closed = once(child, 'close');
    await vi.waitUntil(() => existsSync(started), { timeout: 10_000, interval: 20 });
    child.kill(signal);
    expect(await closed).toEqual([code, null]);
    const pid = Number(readFileSync(started, 'utf8'));
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });
});
