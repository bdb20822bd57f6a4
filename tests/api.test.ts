// What Node programs rely on, on the installed package: shapes, argument lists, call
// counts and directory listings, also with a uv that does nothing and a wheel that is none.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Exec, InstallOptions } from '@scope/ktx';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { ktxModule as ktx, run, suite, temporaryDirectory } from './support/user.js';

const CLI_VERSION = '1.2.3';
const WHEEL = 'kaelio_ktx-1.2.3-py3-none-any.whl';

let home: string;
let runtimeRoot: string;
let assetDir: string;
let venvDir: string;
let pythonPath: string;
let wheelPath: string;

beforeEach(() => {
  home = temporaryDirectory('api-');
  runtimeRoot = join(home, 'runtime');
  assetDir = join(home, 'asset');
  mkdirSync(assetDir);
  venvDir = join(runtimeRoot, CLI_VERSION, '.venv');
  pythonPath = join(venvDir, 'bin/python');
  wheelPath = join(assetDir, WHEEL);
  writeWheel('not a zip file');
});

function writeWheel(content: string, change: Record<string, unknown> = {}): void {
  writeFileSync(join(assetDir, WHEEL), content);
  const wheel = {
    file: WHEEL,
    sha256: createHash('sha256').update(content).digest('hex'),
    bytes: content.length,
  };
  const manifest = {
    schemaVersion: 1,
    distributionName: 'kaelio-ktx',
    normalizedName: 'kaelio_ktx',
    version: CLI_VERSION,
    wheel,
    ...change,
  };
  writeFileSync(join(assetDir, 'manifest.json'), JSON.stringify(manifest));
}

const nothing = { stdout: '', stderr: '' };

/** A uv that says it worked and makes what `creates` says. */
function fakeUv(creates = false) {
  return vi.fn<Exec>(async (_command, args) => {
    if (creates && args[0] === 'venv') {
      mkdirSync(join(venvDir, 'bin'), { recursive: true });
      writeFileSync(pythonPath, '#!/bin/sh\n', { mode: 0o755 });
      writeFileSync(join(venvDir, 'bin/ktx-daemon'), '#!/bin/sh\n', { mode: 0o755 });
    }
    return args[0] === '--version' ? { stdout: 'uv 0.13.8\n', stderr: '' } : nothing;
  });
}

function options(exec: Exec, more: Partial<InstallOptions> = {}): InstallOptions {
  const env = { PATH: '/somewhere', HOME: home, UV_NO_CONFIG: '0', PYTHONPATH: '/hostile' };
  return {
    cliVersion: CLI_VERSION,
    env,
    homeDir: home,
    runtimeRoot,
    assetDir,
    features: ['core'],
    exec,
    ...more,
  };
}

const read = () => ({
  cliVersion: CLI_VERSION,
  env: { PATH: suite.path, HOME: home },
  runtimeRoot,
  assetDir,
});

describe('managedPythonRuntimeLayout', () => {
  test.each([
    ['linux', { HOME: '/home/u' }, '/home/u/.local/share/kaelio/ktx/runtime'],
    ['linux', { HOME: '/home/u', XDG_DATA_HOME: '/data' }, '/data/kaelio/ktx/runtime'],
    ['darwin', { HOME: '/Users/u' }, '/Users/u/Library/Application Support/kaelio/ktx/runtime'],
    ['win32', { LOCALAPPDATA: 'C:/Local' }, 'C:/Local/Kaelio/KTX/runtime'],
    ['linux', { HOME: '/home/u', KTX_RUNTIME_ROOT: '/own' }, '/own'],
  ])('computes the paths for %s with %j', (platform, env, root) => {
    const bin = platform === 'win32' ? 'Scripts' : 'bin';
    const suffix = platform === 'win32' ? '.exe' : '';
    const layout = ktx.managedPythonRuntimeLayout({
      cliVersion: CLI_VERSION,
      platform,
      env,
      assetDir: '/asset',
    });
    expect(layout).toEqual({
      cliVersion: CLI_VERSION,
      runtimeRoot: root,
      versionDir: `${root}/1.2.3`,
      venvDir: `${root}/1.2.3/.venv`,
      manifestPath: `${root}/1.2.3/manifest.json`,
      installLogPath: `${root}/1.2.3/install.log`,
      assetDir: '/asset',
      assetManifestPath: '/asset/manifest.json',
      pythonPath: `${root}/1.2.3/.venv/${bin}/python${suffix}`,
      daemonPath: `${root}/1.2.3/.venv/${bin}/ktx-daemon${suffix}`,
    });
  });

  test('takes the home directory from its options first', () => {
    const layout = ktx.managedPythonRuntimeLayout({
      cliVersion: CLI_VERSION,
      platform: 'linux',
      env: { HOME: '/a' },
      homeDir: '/b',
    });
    expect(layout.runtimeRoot).toBe('/b/.local/share/kaelio/ktx/runtime');
  });

  test('says what is not set', () => {
    expect(() => ktx.managedPythonRuntimeLayout({ cliVersion: CLI_VERSION, env: {} })).toThrow(
      expect.objectContaining({ code: 'KTX_HOME_UNSET', message: expect.stringContaining('HOME') }),
    );
  });
});

describe('verifyRuntimeAsset', () => {
  test('returns the manifest with the keys that it does not know, and the path of the wheel', async () => {
    writeWheel('x', { later: { a: 1 } });
    expect(await ktx.verifyRuntimeAsset({ assetDir })).toEqual({
      manifest: JSON.parse(readFileSync(join(assetDir, 'manifest.json'), 'utf8')),
      wheelPath,
    });
  });

  test('names the wheel whose bytes differ', async () => {
    writeFileSync(wheelPath, 'not a zip fill');
    await expect(ktx.verifyRuntimeAsset({ assetDir })).rejects.toMatchObject({
      name: 'KtxError',
      code: 'KTX_ASSET_CHECKSUM',
      message: `Bundled Python runtime wheel checksum mismatch: ${wheelPath}`,
      hint: expect.stringContaining('npm install'),
    });
  });

  test.each(['../x.whl', '/x.whl', 'a/b.whl', 'C:\\x.whl', 'a\u0000.whl'])(
    'refuses the file name %j',
    async (file) => {
      writeWheel('x', { wheel: { file, sha256: '0'.repeat(64), bytes: 1 } });
      await expect(ktx.verifyRuntimeAsset({ assetDir })).rejects.toMatchObject({
        code: 'KTX_ASSET_UNSAFE',
        message: `Unsafe runtime wheel filename in bundled manifest: ${file}`,
      });
    },
  );
});

describe('installManagedPythonRuntime with a replaced exec', () => {
  test('runs exactly three commands and believes their outcome', async () => {
    const exec = fakeUv();
    const result = await ktx.installManagedPythonRuntime(options(exec));
    expect(exec.mock.calls.map(([command, args]) => [command, args])).toEqual([
      ['uv', ['--version']],
      ['uv', ['venv', venvDir]],
      ['uv', ['pip', 'install', '--python', pythonPath, wheelPath]],
    ]);
    const layout = ktx.managedPythonRuntimeLayout({
      cliVersion: CLI_VERSION,
      env: {},
      runtimeRoot,
      assetDir,
    });
    const asset = JSON.parse(readFileSync(join(assetDir, 'manifest.json'), 'utf8'));
    expect(result).toEqual({
      status: 'installed',
      layout,
      asset: { manifest: asset, wheelPath },
      manifest: {
        schemaVersion: 1,
        cliVersion: CLI_VERSION,
        installedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        asset,
        features: ['core'],
        python: { executable: pythonPath, daemonExecutable: join(venvDir, 'bin/ktx-daemon') },
        installLog: layout.installLogPath,
      },
    });
    expect(JSON.parse(readFileSync(layout.manifestPath, 'utf8'))).toEqual(result.manifest);
  });

  test('gives the commands an environment that nothing weakens', async () => {
    const exec = fakeUv();
    await ktx.installManagedPythonRuntime(options(exec));
    for (const [, , { env }] of exec.mock.calls) {
      expect(env).toMatchObject({ UV_NO_CONFIG: '1', PATH: '/somewhere' });
      expect(env).not.toHaveProperty('PYTHONPATH');
    }
  });

  test('lists core first and asks for the extra', async () => {
    const exec = fakeUv();
    const { manifest } = await ktx.installManagedPythonRuntime(
      options(exec, { features: ['local-embeddings', 'core'] }),
    );
    expect(manifest.features).toEqual(['core', 'local-embeddings']);
    expect(exec.mock.calls[2]?.[1].at(-1)).toBe(`${wheelPath}[local-embeddings]`);
  });

  test('runs nothing when the runtime is ready', async () => {
    const exec = fakeUv(true);
    const first = await ktx.installManagedPythonRuntime(options(exec));
    expect(exec).toHaveBeenCalledTimes(3);
    const second = await ktx.installManagedPythonRuntime(options(exec));
    expect(second).toEqual({ ...first, status: 'ready' });
    expect(exec).toHaveBeenCalledTimes(3);
  });

  test('names the log when uv fails, and the log has the command and what it wrote', async () => {
    const exec = vi.fn<Exec>(async (_command, args) => {
      if (args[0] !== 'venv') return nothing;
      throw Object.assign(new Error('exit 2'), {
        stdout: 'out\n',
        stderr: 'the disk is on fire\n',
      });
    });
    const log = join(runtimeRoot, CLI_VERSION, 'install.log');
    const failed = ktx.installManagedPythonRuntime(options(exec));
    await expect(failed).rejects.toMatchObject({
      code: 'KTX_INSTALL_FAILED',
      message: expect.stringMatching(/^Python runtime install failed.*the disk is on fire/s),
      logPath: log,
    });
    await expect(failed).rejects.toThrow(`Install log: ${log}`);
    expect(exec).toHaveBeenCalledTimes(2);
    expect(readFileSync(log, 'utf8')).toContain(`$ uv venv ${venvDir}\n`);
    expect(readFileSync(log, 'utf8')).toContain('the disk is on fire\n');
    expect(readdirSync(join(runtimeRoot, CLI_VERSION))).toEqual(['install.log']);
  });

  test('takes an exec that throws at once for a command that failed', async () => {
    const exec = vi.fn<Exec>(() => {
      throw new Error('not even a promise');
    });
    await expect(
      ktx.installManagedPythonRuntime(options(exec, { env: { KTX_UV_BOOTSTRAP: 'never' } })),
    ).rejects.toMatchObject({ name: 'KtxError', code: 'KTX_UV_MISSING' });
  });

  test('starts nothing for a signal that is already aborted', async () => {
    const exec = fakeUv();
    const signal = AbortSignal.abort(new Error('changed my mind'));
    await expect(ktx.installManagedPythonRuntime(options(exec, { signal }))).rejects.toMatchObject({
      code: 'KTX_ABORTED',
      cause: expect.objectContaining({ message: 'changed my mind' }),
    });
    expect(exec).not.toHaveBeenCalled();
    expect(readdirSync(home)).toEqual(['asset']);
  });

  test('ends and cleans up when it is aborted between two commands', async () => {
    const controller = new AbortController();
    const exec = vi.fn<Exec>(async (_command, args) => {
      if (args[0] === 'venv') controller.abort();
      return nothing;
    });
    await expect(
      ktx.installManagedPythonRuntime(options(exec, { signal: controller.signal })),
    ).rejects.toMatchObject({ code: 'KTX_ABORTED' });
    expect(readdirSync(join(runtimeRoot, CLI_VERSION))).toEqual(['install.log']);
    expect((await ktx.installManagedPythonRuntime(options(fakeUv()))).status).toBe('installed');
  });

  test('passes on what onProgress throws, and installs nothing', async () => {
    const thrown = new Error('the screen is gone');
    const onProgress = () => {
      throw thrown;
    };
    await expect(ktx.installManagedPythonRuntime(options(fakeUv(), { onProgress }))).rejects.toBe(
      thrown,
    );
    expect((await ktx.readManagedPythonRuntimeStatus(read())).kind).not.toBe('ready');
    expect((await ktx.installManagedPythonRuntime(options(fakeUv()))).status).toBe('installed');
  });

  test('tells of every step', async () => {
    const steps = new Set<string>();
    await ktx.installManagedPythonRuntime(
      options(fakeUv(), { onProgress: ({ preset }) => void steps.add(preset) }),
    );
    expect([...steps]).toEqual(expect.arrayContaining(['uv', 'venv', 'packages', 'publish']));
  });
});

describe('readManagedPythonRuntimeStatus and doctorManagedPythonRuntime', () => {
  test('see a runtime that is missing, ready and broken', async () => {
    const status = () => ktx.readManagedPythonRuntimeStatus(read());
    expect(await status()).toMatchObject({
      kind: 'missing',
      detail: `No runtime manifest at ${join(runtimeRoot, CLI_VERSION, 'manifest.json')}`,
    });
    const { manifest } = await ktx.installManagedPythonRuntime(options(fakeUv(true)));
    expect(await status()).toMatchObject({ kind: 'ready', manifest });
    await run('/bin/rm', [join(venvDir, 'bin/ktx-daemon')], { env: {}, cwd: home });
    expect(await status()).toMatchObject({
      kind: 'broken',
      detail: `Missing ktx-daemon executable: ${join(venvDir, 'bin/ktx-daemon')}`,
    });
    await run('/bin/rm', [pythonPath], { env: {}, cwd: home });
    expect(await status()).toMatchObject({
      kind: 'broken',
      detail: `Missing Python executable: ${pythonPath}`,
    });
  });

  test('a runtime for which a fake uv created nothing is broken', async () => {
    await ktx.installManagedPythonRuntime(options(fakeUv()));
    expect(await ktx.readManagedPythonRuntimeStatus(read())).toMatchObject({
      kind: 'broken',
      detail: `Missing Python executable: ${pythonPath}`,
    });
  });

  test('the doctor lists uv, asset and runtime, with the command that repairs', async () => {
    expect(await ktx.doctorManagedPythonRuntime({ ...read(), exec: fakeUv() })).toEqual([
      { id: 'uv', label: 'uv', status: 'pass', detail: 'uv 0.13.8' },
      { id: 'asset', label: 'Bundled Python wheel', status: 'pass', detail: wheelPath },
      {
        id: 'runtime',
        label: 'Managed Python runtime',
        status: 'fail',
        detail: `No runtime manifest at ${join(runtimeRoot, CLI_VERSION, 'manifest.json')}`,
        fix: 'Run: ktx runtime install --yes',
      },
    ]);
  });
});

describe('pruneManagedPythonRuntimes', () => {
  test('returns what is stale, kept and removed, and leaves the rest where it is', async () => {
    for (const name of ['1.2.2', CLI_VERSION, 'notes'])
      mkdirSync(join(runtimeRoot, name), { recursive: true });
    const prune = (dryRun?: boolean) =>
      ktx.pruneManagedPythonRuntimes({
        cliVersion: CLI_VERSION,
        runtimeRoot,
        ...(dryRun === undefined ? {} : { dryRun }),
      });
    const found = {
      runtimeRoot,
      stale: [join(runtimeRoot, '1.2.2')],
      kept: [join(runtimeRoot, CLI_VERSION)],
    };
    expect(await prune(true)).toEqual({ ...found, removed: [] });
    expect(readdirSync(runtimeRoot).toSorted()).toEqual(['1.2.2', CLI_VERSION, 'notes']);
    expect(await prune()).toEqual({ ...found, removed: found.stale });
    expect(readdirSync(runtimeRoot).toSorted()).toEqual([CLI_VERSION, 'notes']);
  });

  test('finds nothing under a root that is not there', async () => {
    expect(await ktx.pruneManagedPythonRuntimes({ cliVersion: CLI_VERSION, runtimeRoot })).toEqual({
      runtimeRoot,
      stale: [],
      kept: [],
      removed: [],
    });
  });
});
