// What `ktx runtime` calls and prints, with stand-ins for the runtime itself.
import { describe, expect, it, vi } from 'vitest';
import { KtxError, type OnProgress, runKtxRuntime } from '../src/index.js';
import { capturedIo, installed, layout, manifest } from './support.js';

const cliVersion = '1.2.3';
const install = { command: 'install', cliVersion, feature: 'core', force: false } as const;

describe('runtime install', () => {
  it('prints what is installed and where', async () => {
    const { io, stdout, stderr } = capturedIo();
    const installRuntime = vi.fn(async () => installed('installed', ['core', 'local-embeddings']));
    const args = { ...install, feature: 'local-embeddings', force: true } as const;
    expect(await runKtxRuntime(args, io, { installRuntime })).toBe(0);
    expect(stdout()).toMatchInlineSnapshot(`
      "Installed KTX Python runtime
      version: 1.2.3
      features: core, local-embeddings
      python: /runtime/1.2.3/.venv/bin/python
      daemon: /runtime/1.2.3/.venv/bin/ktx-daemon
      manifest: /runtime/1.2.3/manifest.json
      install log: /runtime/1.2.3/install.log
      "
    `);
    expect(stderr()).toBe('');
    expect(installRuntime.mock.calls).toStrictEqual([
      [{ cliVersion, features: ['local-embeddings'], force: true }],
    ]);
  });

  it('says when it uses the existing runtime', async () => {
    const { io, stdout } = capturedIo();
    // A stand-in may return a plain value.
    expect(await runKtxRuntime(install, io, { installRuntime: () => installed('ready') })).toBe(0);
    expect(stdout()).toMatch(/^Using existing KTX Python runtime\nversion: 1\.2\.3\n/);
  });

  it('prints the result as JSON', async () => {
    const { io, stdout } = capturedIo();
    const result = installed('installed');
    await runKtxRuntime({ ...install, json: true }, io, { installRuntime: () => result });
    expect(JSON.parse(stdout())).toEqual(result);
  });

  it('shows progress on a terminal only', async () => {
    const { io, stdout, stderr } = capturedIo(true);
    const installRuntime = vi.fn(async (options: { onProgress?: OnProgress }) => {
      options.onProgress?.({ preset: 'uv', state: 'started' });
      options.onProgress?.({ preset: 'uv', state: 'progress', bytes: 500, totalBytes: 2_000_000 });
      options.onProgress?.({ preset: 'uv', state: 'finished', detail: 'uv\u001b[31m 0.13.8\n' });
      return installed('installed');
    });
    expect(await runKtxRuntime(install, io, { installRuntime })).toBe(0);
    expect(stderr()).toContain('500 B of 2.0 MB');
    expect(stderr()).toMatch(/✓\S* uv {8}uv 0\.13\.8 .* s\n$/);
    expect(stdout()).toMatch(/^Installed KTX/);
  });

  it('keeps the time in view on a narrow terminal', async () => {
    const { io, stderr } = capturedIo(true);
    io.stderr.columns = 40;
    const installRuntime = async (options: { onProgress?: OnProgress }) => {
      options.onProgress?.({ preset: 'packages', state: 'finished', detail: 'x'.repeat(100) });
      return installed('installed');
    };
    await runKtxRuntime(install, io, { installRuntime });
    expect(stderr()).toMatch(/ packages {2}x{19}… {2}0\.0 s\n$/);
  });

  it('reports a failure with its fix and log on stderr', async () => {
    const { io, stdout, stderr } = capturedIo();
    const installRuntime = (): never => {
      throw new KtxError('KTX_DISK_FULL', 'No space', { hint: 'Set KTX_RUNTIME_ROOT', logPath: '/l' });
    };
    expect(await runKtxRuntime(install, io, { installRuntime })).toBe(1);
    expect(stderr()).toBe('No space\nFix: Set KTX_RUNTIME_ROOT\nLog: /l\n');
    expect(stdout()).toBe('');
  });
});

describe('runtime status', () => {
  const status = { command: 'status', cliVersion, json: false } as const;

  it('prints the state and the paths', async () => {
    const { io, stdout } = capturedIo();
    const readStatus = vi.fn(async () => ({ kind: 'missing', detail: 'None', layout }) as const);
    expect(await runKtxRuntime(status, io, { readStatus })).toBe(0);
    expect(stdout()).toBe(
      'KTX Python runtime\nstatus: missing\ndetail: None\nruntime root: /runtime\nversion dir: /runtime/1.2.3\n',
    );
    expect(readStatus.mock.calls).toStrictEqual([[{ cliVersion }]]);
  });

  it('adds what is installed when there is a manifest', async () => {
    const { io, stdout } = capturedIo();
    const found = { kind: 'ready', detail: 'Ready', layout, manifest: manifest() } as const;
    await runKtxRuntime(status, io, { readStatus: () => found });
    expect(stdout()).toContain(
      `\nfeatures: core\npython: ${layout.pythonPath}\ndaemon: ${layout.daemonPath}\n`,
    );
  });

  it('prints the same as JSON', async () => {
    const { io, stdout } = capturedIo();
    const found = { kind: 'ready', detail: 'Ready', layout, manifest: manifest() } as const;
    await runKtxRuntime({ ...status, json: true }, io, { readStatus: () => found });
    expect(JSON.parse(stdout())).toEqual(found);
  });
});

describe('runtime doctor', () => {
  const doctor = { command: 'doctor', cliVersion, json: false } as const;
  const checks = [
    { id: 'uv', label: 'uv', status: 'pass', detail: 'uv 0.9.5' } as const,
    {
      id: 'runtime',
      label: 'Managed Python runtime',
      status: 'fail',
      detail: 'No runtime manifest at /m',
      fix: 'Run: ktx runtime install --yes',
    } as const,
  ];

  it('prints every check and the fix of a failed one, and exits 1', async () => {
    const { io, stdout } = capturedIo();
    const doctorRuntime = vi.fn(async () => checks);
    expect(await runKtxRuntime(doctor, io, { doctorRuntime })).toBe(1);
    expect(stdout()).toMatchInlineSnapshot(`
      "KTX Python runtime doctor
      PASS uv: uv 0.9.5
      FAIL Managed Python runtime: No runtime manifest at /m
        Fix: Run: ktx runtime install --yes
      "
    `);
    expect(doctorRuntime.mock.calls).toStrictEqual([[{ cliVersion }]]);
  });

  it('exits 0 when every check passes', async () => {
    const { io } = capturedIo();
    expect(await runKtxRuntime(doctor, io, { doctorRuntime: () => checks.slice(0, 1) })).toBe(0);
  });

  it('prints the checks as JSON with the same exit code', async () => {
    const { io, stdout } = capturedIo();
    const json = { ...doctor, json: true };
    expect(await runKtxRuntime(json, io, { doctorRuntime: () => checks })).toBe(1);
    expect(JSON.parse(stdout())).toEqual({ checks });
  });

  it('colours the verdict on a terminal unless NO_COLOR is set', async () => {
    vi.stubEnv('NO_COLOR', '');
    vi.stubEnv('TERM', 'xterm');
    const coloured = capturedIo(true);
    await runKtxRuntime(doctor, coloured.io, { doctorRuntime: () => checks });
    expect(coloured.stdout()).toContain('\u001b[32mPASS\u001b[39m uv');
    vi.stubEnv('NO_COLOR', '1');
    const plain = capturedIo(true);
    await runKtxRuntime(doctor, plain.io, { doctorRuntime: () => checks });
    expect(plain.stdout()).toContain('PASS uv: uv 0.9.5\n');
    vi.unstubAllEnvs();
  });
});

describe('runtime prune', () => {
  const prune = { command: 'prune', cliVersion, dryRun: false, yes: false } as const;
  const readStatus = async () => ({ kind: 'missing', detail: 'None', layout }) as const;
  const pruned = { runtimeRoot: '/runtime', stale: ['/runtime/0.9.0'], kept: [], removed: [] };

  it('refuses without --yes', async () => {
    const { io, stdout, stderr } = capturedIo();
    const pruneRuntime = vi.fn(async () => pruned);
    expect(await runKtxRuntime(prune, io, { readStatus, pruneRuntime })).toBe(1);
    expect(stderr()).toBe(
      'Refusing to prune without --yes. Preview with: ktx runtime prune --dry-run\n',
    );
    expect(stdout()).toBe('');
    expect(pruneRuntime).not.toHaveBeenCalled();
  });

  it('lists what a dry run finds', async () => {
    const { io, stdout } = capturedIo();
    const pruneRuntime = vi.fn(async () => pruned);
    const args = { ...prune, dryRun: true };
    expect(await runKtxRuntime(args, io, { readStatus, pruneRuntime })).toBe(0);
    expect(stdout()).toBe('Stale KTX Python runtimes\n/runtime/0.9.0\n');
    expect(pruneRuntime.mock.calls).toStrictEqual([
      [{ cliVersion, runtimeRoot: '/runtime', dryRun: true }],
    ]);
  });

  it('lists what it removed', async () => {
    const { io, stdout } = capturedIo();
    const pruneRuntime = async () => ({ ...pruned, removed: ['/runtime/0.9.0'] });
    expect(await runKtxRuntime({ ...prune, yes: true }, io, { readStatus, pruneRuntime })).toBe(0);
    expect(stdout()).toBe('Removed stale KTX Python runtimes\n/runtime/0.9.0\n');
  });

  it('prints neither heading when there is nothing stale', async () => {
    const { io, stdout } = capturedIo();
    const pruneRuntime = async () => ({ ...pruned, stale: [] });
    await runKtxRuntime({ ...prune, yes: true }, io, { readStatus, pruneRuntime });
    expect(stdout()).toBe('No stale KTX Python runtimes under /runtime\n');
  });
});
