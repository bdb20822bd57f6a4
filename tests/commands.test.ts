// The commands as functions: what they call, with what, and what they write.
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { PACKAGE, VERSION, ktxModule as ktx, temporaryDirectory } from './support/user.js';

const CLI_VERSION = '1.2.3';
const runtimeRoot = join(temporaryDirectory('commands-'), 'runtime');
const assetDir = '/asset';

describe('runKtxRuntime and runKtxCli', () => {
  const written = { stdout: '', stderr: '' };
  const io = {
    stdout: { write: (text: string) => (written.stdout += text) },
    stderr: { write: (text: string) => (written.stderr += text) },
  };

  beforeEach(() => {
    written.stdout = '';
    written.stderr = '';
  });

  test('call what they are given with exactly the options of the contract', async () => {
    const layout = ktx.managedPythonRuntimeLayout({
      cliVersion: CLI_VERSION,
      env: {},
      runtimeRoot,
      assetDir,
    });
    const manifest = {
      features: ['core'],
      python: { executable: '/p', daemonExecutable: '/d' },
      installLog: '/l',
    };
    const deps = {
      installRuntime: vi.fn(
        async () => ({ status: 'installed', layout, asset: {}, manifest }) as never,
      ),
      readStatus: vi.fn(async () => ({ kind: 'missing', detail: 'none', layout }) as never),
      doctorRuntime: vi.fn(async () => [
        { id: 'uv', label: 'uv', status: 'fail' as const, detail: 'gone', fix: 'Run: this' },
      ]),
      pruneRuntime: vi.fn(async () => ({ runtimeRoot, stale: ['/s'], kept: [], removed: ['/s'] })),
    };
    const cliVersion = CLI_VERSION;
    const command = (args: Parameters<typeof ktx.runKtxRuntime>[0]) =>
      ktx.runKtxRuntime(args, io, deps);
    expect(
      await command({ command: 'install', cliVersion, feature: 'local-embeddings', force: true }),
    ).toBe(0);
    expect(deps.installRuntime.mock.calls).toEqual([
      [{ cliVersion, features: ['local-embeddings'], force: true }],
    ]);
    expect(await command({ command: 'status', cliVersion, json: false })).toBe(0);
    expect(deps.readStatus.mock.calls).toEqual([[{ cliVersion }]]);
    expect(await command({ command: 'doctor', cliVersion, json: false })).toBe(1);
    expect(deps.doctorRuntime.mock.calls).toEqual([[{ cliVersion }]]);
    expect(await command({ command: 'prune', cliVersion, dryRun: false, yes: true })).toBe(0);
    expect(deps.pruneRuntime.mock.calls).toEqual([[{ cliVersion, runtimeRoot, dryRun: false }]]);
    expect(written.stderr).toBe('');
    expect(written.stdout).toBe(
      [
        'Installed KTX Python runtime',
        'version: 1.2.3',
        'features: core',
        'python: /p',
        'daemon: /d',
        `manifest: ${layout.manifestPath}`,
        'install log: /l',
        'KTX Python runtime',
        'status: missing',
        'detail: none',
        `runtime root: ${runtimeRoot}`,
        `version dir: ${layout.versionDir}`,
        'KTX Python runtime doctor',
        'FAIL uv: gone',
        '  Fix: Run: this',
        'Removed stale KTX Python runtimes',
        '/s',
        '',
      ].join('\n'),
    );
  });

  test.each([
    [['runtime', 'install'], { command: 'install', feature: 'core', force: false }],
    [
      ['runtime', 'install', '--feature', 'local-embeddings', '--force', '--yes'],
      { command: 'install', feature: 'local-embeddings', force: true, yes: true },
    ],
    [['runtime', 'status'], { command: 'status', json: false }],
    [['runtime', 'doctor', '--json'], { command: 'doctor', json: true }],
    [['runtime', 'prune', '--dry-run'], { command: 'prune', dryRun: true, yes: false }],
  ])('%j becomes arguments', async (argv, expected) => {
    const runtime = vi.fn(() => 7);
    expect(await ktx.runKtxCli(argv, io, { runtime })).toBe(7);
    expect(runtime.mock.calls).toEqual([[{ ...expected, cliVersion: VERSION }, io]]);
  });

  test('wrong usage exits 2 and says so on stderr', async () => {
    for (const argv of [
      ['nonsense'],
      ['runtime', 'install', '--feature', 'x'],
      ['runtime', 'install', '--yes', '--no-input'],
    ]) {
      expect(await ktx.runKtxCli(argv, io, { runtime: () => 0 })).toBe(2);
    }
    expect(written.stdout).toBe('');
    expect(written.stderr).not.toBe('');
  });

  test('a failure is told with its fix, and is never thrown', async () => {
    const readStatus = () => {
      throw new ktx.KtxError('KTX_IO', 'It broke', { hint: 'Run: mend' });
    };
    expect(
      await ktx.runKtxRuntime({ command: 'status', cliVersion: CLI_VERSION, json: false }, io, {
        readStatus,
      }),
    ).toBe(1);
    expect(written).toEqual({ stdout: '', stderr: 'It broke\nFix: Run: mend\n' });
  });

  test('getKtxCliPackageInfo gives name and version', () => {
    expect(ktx.getKtxCliPackageInfo()).toEqual({ name: PACKAGE, version: VERSION });
  });
});
