// Runtimes that were damaged: never called ready, and healed by a plain installation.
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { eventually, processesMarked } from './support/processes.js';
import { missing, traced } from './support/system.js';
import { User, suite } from './support/user.js';
import type { RuntimeStatus } from '@scope/ktx';

let user: User;

beforeEach(async () => {
  user = new User();
  await user.install();
});

const venv = (status: RuntimeStatus, ...names: string[]) => join(status.layout.venvDir, ...names);

function sitePackage(status: RuntimeStatus, name: string): string {
  const config = readFileSync(venv(status, 'pyvenv.cfg'), 'utf8');
  const version = /^version_info = (\d+\.\d+)/m.exec(config)?.[1];
  return venv(status, `lib/python${version}/site-packages`, name);
}

function replace(path: string, content: string, mode = 0o755): void {
  rmSync(path, { force: true });
  writeFileSync(path, content, { mode });
}

const faults: [string, (status: RuntimeStatus) => void, RegExp][] = [
  [
    'the interpreter is missing',
    (s) => rmSync(s.layout.pythonPath),
    /^Missing Python executable: .*\/bin\/python$/,
  ],
  [
    'the interpreter is a text file',
    (s) => replace(s.layout.pythonPath, 'hello\n'),
    /^Python executable does not run: .*\/bin\/python /,
  ],
  [
    'the interpreter is an empty file',
    (s) => replace(s.layout.pythonPath, ''),
    /^Python executable does not run: /,
  ],
  [
    'the interpreter is a dangling link',
    (s) => (rmSync(s.layout.pythonPath), symlinkSync('/nonexistent', s.layout.pythonPath)),
    /^Missing Python executable: /,
  ],
  [
    'the interpreter is a directory',
    (s) => (rmSync(s.layout.pythonPath), mkdirSync(s.layout.pythonPath)),
    /^Python executable does not run: /,
  ],
  [
    'the interpreter fails',
    (s) => replace(s.layout.pythonPath, '#!/bin/sh\nexit 1\n'),
    /^Python executable does not run: /,
  ],
  ['pyvenv.cfg is missing', (s) => rmSync(venv(s, 'pyvenv.cfg')), /./],
  [
    'the environment is missing',
    (s) => rmSync(s.layout.venvDir, { recursive: true }),
    /^Missing Python executable: /,
  ],
  [
    'ktx-daemon is missing',
    (s) => rmSync(s.layout.daemonPath),
    /^Missing ktx-daemon executable: .*\/bin\/ktx-daemon$/,
  ],
  ['ktx-daemon is an empty file', (s) => replace(s.layout.daemonPath, ''), /ktx-daemon/],
  ['ktx-daemon is a text file', (s) => replace(s.layout.daemonPath, 'hello\n'), /ktx-daemon/],
  ['ktx-daemon may not be run', (s) => chmodSync(s.layout.daemonPath, 0o600), /ktx-daemon/],
  [
    'a module of a package is missing',
    (s) => rmSync(sitePackage(s, 'msgpack/__init__.py')),
    /msgpack/,
  ],
  [
    'a module of a package is empty',
    (s) => truncateSync(sitePackage(s, 'msgpack/ext.py'), 0),
    /msgpack/,
  ],
  [
    'a package is missing',
    (s) => rmSync(sitePackage(s, 'msgpack'), { recursive: true }),
    /msgpack/,
  ],
  [
    'our own package is missing',
    (s) => rmSync(sitePackage(s, 'ktx_daemon'), { recursive: true }),
    /kaelio|ktx_daemon/,
  ],
  ['the manifest is empty', () => truncateSync(user.manifestPath, 0), /manifest/],
  ['the manifest is truncated', () => truncateSync(user.manifestPath, 200), /manifest/],
  ['the manifest is no JSON', () => writeFileSync(user.manifestPath, 'hello'), /manifest/],
  [
    'the manifest is a JSON value of another kind',
    () => writeFileSync(user.manifestPath, '[]'),
    /manifest/,
  ],
  [
    'the manifest has no interpreter',
    () =>
      writeFileSync(
        user.manifestPath,
        readFileSync(user.manifestPath, 'utf8').replace('"executable"', '"other"'),
      ),
    /manifest/,
  ],
  [
    'the manifest is a directory',
    () => (rmSync(user.manifestPath), mkdirSync(user.manifestPath)),
    /manifest/,
  ],
];

describe.each(faults)('when %s', (_name, damage, detail) => {
  test('status says broken, and a plain installation heals', async () => {
    damage(await user.status());
    const status = await user.status();
    expect(status.kind).toBe('broken');
    expect(status.detail).toMatch(detail);
    expect(status.detail).toContain(user.versionDir);
    const doctor = await user.ktx(['runtime', 'doctor']);
    expect(doctor.code).toBe(1);
    expect(doctor.stdout).toMatch(
      /^FAIL Managed Python runtime: .*\n {2}Fix: Run: ktx runtime install --yes$/m,
    );
    expect(await user.ktx(['exec', '-c', '1'])).toMatchObject({
      code: 1,
      stderr: `The Python runtime is broken: ${status.detail}\nFix: Run: ktx runtime install --yes\n`,
    });
    expect(await user.install()).toMatch(/^Installed/);
    expect((await user.status()).kind).toBe('ready');
    await user.expectRuns();
  });
});

test('an interpreter that was upgraded or removed under the environment is noticed', async () => {
  const own = new User();
  const bin = join(own.home, 'bin');
  mkdirSync(bin);
  symlinkSync(readFileSync('/proc/self/cmdline', 'utf8').split('\0')[0] ?? '', join(bin, 'node'));
  symlinkSync(join(suite.path, 'python3'), join(bin, 'python3'));
  await own.install([], { env: { PATH: bin } });
  renameSync(join(bin, 'python3'), join(bin, 'moved'));
  const status = await own.status();
  if (status.kind === 'ready') await own.expectRuns();
  else expect(status).toMatchObject({ kind: 'broken' });
  await own.install();
  await own.expectRuns();
});

test('a manifest of a newer ktx is left alone, and says so', async () => {
  const written = readFileSync(user.manifestPath, 'utf8');
  const newer = written.replace('"schemaVersion": 1', '"schemaVersion": 2');
  expect(newer).not.toBe(written);
  writeFileSync(user.manifestPath, newer);
  const status = await user.status();
  expect(status.kind).not.toBe('ready');
  expect(status.detail).toContain('newer');
  const said = await user.failingInstall();
  expect(said).toContain(status.detail);
  expect(said).toContain('--force');
  expect(readFileSync(user.manifestPath, 'utf8')).toBe(newer);
  expect(await user.install(['--force'])).toMatch(/^Installed/);
  await user.expectRuns();
});

test('a manifest of another version of ktx is mismatched, and replaced', async () => {
  const written = readFileSync(user.manifestPath, 'utf8');
  writeFileSync(
    user.manifestPath,
    written.replace(`"cliVersion": "${suite.version}"`, '"cliVersion": "0.0.9"'),
  );
  expect(await user.status()).toMatchObject({
    kind: 'mismatched',
    detail: expect.stringContaining('0.0.9'),
  });
  expect(await user.install()).toMatch(/^Installed/);
});

test('a runtime that is moved with its root is not called ready unless it runs', async () => {
  const old = new User();
  await old.install();
  const moved = new User({ root: join(old.home, 'moved'), seeded: false });
  renameSync(old.root, moved.root);
  if ((await moved.status()).kind === 'ready') await moved.expectRuns();
  await moved.install();
  expect((await moved.status()).manifest?.python.executable).toContain(moved.root);
  await moved.expectRuns();
});

test('exec goes on while the runtime is installed anew', async () => {
  const busy = new User();
  await busy.install();
  const late = 'import time; time.sleep(1.5); import msgpack, decimal; print(msgpack.packb(1))';
  const running = busy.start(['exec', '-c', late]);
  await busy.install(['--force']);
  await busy.install(['--force']);
  expect(await running.finished).toMatchObject({ code: 0, stdout: "b'\\x01'\n" });
  const installing = (async () => {
    for (let round = 0; round < 5; round += 1) await busy.install(['--force']);
  })();
  for (let round = 0; round < 25; round += 1) await busy.expectRuns();
  await installing;
});

test.skipIf(missing.strace)(
  'exec finds the new runtime when the one that it looked at is gone',
  async () => {
    const slow = new User();
    await slow.install();
    const running = slow.start(['exec', '-c', 'print(6*7)'], {
      through: [...traced('/dev/null', 'execve'), '-e', 'inject=execve:delay_enter=2s'],
    });
    const node = join(suite.path, 'node');
    await eventually('the daemon is about to start', () => {
      const commands = [...processesMarked(`HOME=${slow.home}\0`).values()];
      return commands.filter((command) => command.startsWith(node)).length > 1;
    });
    await slow.install(['--force']);
    expect(await running.finished).toMatchObject({ code: 0, stdout: '42\n', stderr: '' });
  },
);
