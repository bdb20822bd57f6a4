// The main job, in the order in which a user does it.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { missing, traced, withoutNetwork } from './support/system.js';
import { ASSET_DIR, User, VERSION } from './support/user.js';

describe('on a machine without uv, with an empty home', () => {
  let user: User;
  let installed: string;

  beforeAll(async () => {
    user = new User({ seeded: false });
    expect(await user.ktx(['runtime', 'status'])).toEqual({
      code: 0,
      signal: null,
      stderr: '',
      stdout: [
        'KTX Python runtime',
        'status: missing',
        `detail: No runtime manifest at ${user.manifestPath}`,
        `runtime root: ${user.root}`,
        `version dir: ${user.versionDir}`,
        '',
      ].join('\n'),
    });
    expect(readdirSync(user.home)).toEqual([]);
    expect((await user.ktx(['runtime', 'doctor'])).code).toBe(1);
    expect(readdirSync(user.home)).toEqual([]);
    installed = await user.install();
  });

  const rest = (): string =>
    [
      'KTX Python runtime',
      `version: ${VERSION}`,
      'features: core',
      `python: ${user.versionDir}/.venv/bin/python`,
      `daemon: ${user.versionDir}/.venv/bin/ktx-daemon`,
      `manifest: ${user.manifestPath}`,
      `install log: ${user.versionDir}/install.log`,
      '',
    ].join('\n');

  test('install fetches uv and installs', () => {
    expect(installed).toBe(`Installed ${rest()}`);
    expect(user.log).toContain('! Cannot start `uv`');
    expect(readdirSync(user.root).toSorted()).toEqual([VERSION, 'cache', 'uv']);
    expect(user.entries()).toEqual(['.venv', 'install.log', 'manifest.json']);
  });

  test('doctor passes three checks', async () => {
    const doctor = await user.ktx(['runtime', 'doctor']);
    expect(doctor).toMatchObject({ code: 0, stderr: '' });
    expect(doctor.stdout).toMatch(
      /^KTX Python runtime doctor\nPASS uv: uv \S+.*\nPASS Bundled Python wheel: .*\.whl\nPASS Managed Python runtime: .*\n$/,
    );
  });

  test('a second install answers that there is one', async () => {
    expect(await user.install()).toBe(`Using existing ${rest()}`);
  });

  test.skipIf(missing.strace)('a second install runs no child process', async () => {
    const trace = join(user.home, 'trace');
    expect(await user.install([], { through: traced(trace, 'execve,fork,vfork') })).toMatch(
      /^Using existing/,
    );
    const calls = readFileSync(trace, 'utf8').match(/\b(execve|v?fork)\(.*/g) ?? [];
    expect(calls).toEqual([expect.stringContaining('execve(')]);
  });

  test.skipIf(missing.network)('everything but the first install works offline', async () => {
    await user.expectRuns({ through: withoutNetwork });
    expect(await user.install(['--force'], { through: withoutNetwork })).toMatch(/^Installed/);
    expect(user.log.match(/--offline/g)).toHaveLength(1);
    expect(user.entries()).toEqual([
      expect.stringMatching(/^\.venv-/),
      'install.log',
      'manifest.json',
    ]);
  });

  test('exec prints what the code prints', async () => {
    await user.expectRuns();
  });

  test('exec prints the value of a last expression, and gives it as JSON', async () => {
    expect(await user.ktx(['exec'], { stdin: "'a' * 3\n" })).toMatchObject({
      code: 0,
      stdout: "'aaa'\n",
    });
    const json = await user.ktx(['exec', '--json', '-c', 'print(1); {"a": [1.5, None]}']);
    expect(json).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(json.stdout)).toEqual({
      success: true,
      value: { a: [1.5, null] },
      stdout: '1\n',
      stderr: '',
      error: null,
      durationMs: expect.any(Number),
    });
  });

  test.each([
    ["raise ValueError('x')", 1, /ValueError: x\n$/],
    ['def', 1, /SyntaxError/],
    ['  ', 2, /The code is empty/],
  ])('exec of %j exits %i', async (code, exit, stderr) => {
    const done = await user.ktx(['exec', '-c', code]);
    expect(done.code).toBe(exit);
    expect(done.stderr).toMatch(stderr);
  });

  test('exec ends at its timeout with what was printed until then', async () => {
    const endless = 'import time; print("begun", flush=True)\nwhile True: time.sleep(1)';
    const done = await user.ktx(['exec', '--timeout', '0.5', '-c', endless]);
    expect(done).toMatchObject({ code: 124, stdout: 'begun\n' });
  });

  test('status and install print as JSON what the functions return', async () => {
    const status = await user.status();
    expect(status).toEqual({
      daemon: expect.objectContaining({ kind: 'stopped' }),
      kind: 'ready',
      detail: `Runtime ready at ${user.versionDir}`,
      layout: {
        cliVersion: VERSION,
        runtimeRoot: user.root,
        versionDir: user.versionDir,
        venvDir: expect.stringContaining(`${user.versionDir}/.venv`),
        manifestPath: user.manifestPath,
        installLogPath: `${user.versionDir}/install.log`,
        assetDir: ASSET_DIR,
        assetManifestPath: `${ASSET_DIR}/manifest.json`,
        pythonPath: `${status.layout.venvDir}/bin/python`,
        daemonPath: `${status.layout.venvDir}/bin/ktx-daemon`,
      },
      manifest: JSON.parse(readFileSync(user.manifestPath, 'utf8')),
    });
    expect(JSON.parse(await user.install(['--json']))).toEqual({
      status: 'ready',
      layout: status.layout,
      asset: {
        manifest: JSON.parse(readFileSync(`${ASSET_DIR}/manifest.json`, 'utf8')),
        wheelPath: `${ASSET_DIR}/${status.manifest?.asset.wheel.file}`,
      },
      manifest: status.manifest,
    });
  });
});
