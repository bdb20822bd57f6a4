// uv that is missing, too old, damaged or out of reach.
import { chmodSync, copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { packageIndex, uvOfVersion } from './support/fakes.js';
import { missing, remounted, withoutNetwork } from './support/system.js';
import { User, keptUv, suite, temporaryDirectory } from './support/user.js';

const good = keptUv(suite.seed);

describe('KTX_UV', () => {
  const garbage = join(temporaryDirectory(), 'uv');
  const cases: [string, () => void][] = [
    ['is not there', () => rmSync(garbage, { force: true })],
    ['is a text file', () => writeFileSync(garbage, 'hello\n', { mode: 0o755 })],
    ['may not be run', () => (writeFileSync(garbage, 'hello\n'), chmodSync(garbage, 0o644))],
    [
      'fails',
      () => (writeFileSync(garbage, '#!/bin/sh\necho no >&2; exit 3\n'), chmodSync(garbage, 0o755)),
    ],
  ];

  test.each(cases)('that %s is named, and nothing is used instead', async (_name, make) => {
    make();
    const user = new User({ env: { KTX_UV: garbage } });
    const said = await user.failingInstall();
    expect(said).toContain(`The uv that KTX_UV names does not run: \`${garbage}\``);
    expect(said).toMatch(/^Fix: .*KTX_UV/m);
    expect(user.entries()).toEqual(['install.log']);
    const doctor = await user.ktx(['runtime', 'doctor']);
    expect(doctor.stdout).toMatch(/^FAIL uv: .*KTX_UV.*\n {2}Fix: .*KTX_UV/m);
    await user.install([], { env: { KTX_UV: undefined } });
  });

  test('that works is used', async () => {
    const user = new User({ seeded: false, env: { KTX_UV: good } });
    await user.install();
    expect(existsSync(keptUv(user.root))).toBe(false);
    expect(user.log).toContain(`$ ${good} venv`);
  });
});

test('without uv and with KTX_UV_BOOTSTRAP=never the error says what to install', async () => {
  const user = new User({ seeded: false, env: { KTX_UV_BOOTSTRAP: 'never' } });
  const said = await user.failingInstall();
  expect(said).toMatch(/uv is required to install the KTX Python runtime and was not found/);
  expect(said).toMatch(/^Fix: .*ktx runtime install --yes/m);
});

test('a uv on PATH is used if it is new enough, and else passed over with a note', async () => {
  const old = new User({ env: { PATH: `${uvOfVersion('0.7.22')}:${suite.path}` } });
  await old.install();
  expect(old.log).toContain('Passing over uv 0.7.22 on the PATH: older than 0.8');
  expect(old.log).toContain(`$ ${keptUv(old.root)} venv`);
  const recent = new User({ seeded: false, env: { PATH: `${join(good, '..')}:${suite.path}` } });
  await recent.install();
  expect(recent.log).toContain('$ uv venv');
  expect(existsSync(keptUv(recent.root))).toBe(false);
});

describe('the kept copy', () => {
  const cases: [string, (path: string) => void][] = [
    [
      'truncated',
      (path) => writeFileSync(path, readFileSync(good).subarray(0, 100_000), { mode: 0o755 }),
    ],
    ['empty', (path) => writeFileSync(path, '', { mode: 0o755 })],
    [
      'replaced',
      (path) =>
        writeFileSync(path, '#!/bin/sh\n: > "$HOME/witness"\necho uv 9.9.9\n', { mode: 0o755 }),
    ],
    ['not executable', (path) => (copyFileSync(good, path), chmodSync(path, 0o600))],
  ];

  test.each(cases)(
    'is fetched once more when it is %s, and is never run',
    async (_name, damage) => {
      const user = new User();
      const path = keptUv(user.root);
      rmSync(path);
      damage(path);
      await user.install();
      expect(existsSync(join(user.home, 'witness'))).toBe(false);
      expect(readFileSync(path).equals(readFileSync(good))).toBe(true);
      await user.expectRuns();
    },
  );

  test('is damaged without the doctor running it', async () => {
    const user = new User();
    rmSync(keptUv(user.root));
    cases[2]?.[1](keptUv(user.root));
    const doctor = await user.ktx(['runtime', 'doctor']);
    expect(doctor.stdout).toMatch(/^FAIL uv: /m);
    expect(existsSync(join(user.home, 'witness'))).toBe(false);
  });

  test.skipIf(missing.mount)('on a file system that runs no programs is named', async () => {
    const user = new User();
    const said = await user.failingInstall({ through: remounted(user.root, 'noexec') });
    expect(said).toContain(`The kept uv does not run: \`${keptUv(user.root)}\``);
    expect(said).toMatch(/^Fix: .*KTX_RUNTIME_ROOT=/m);
    await user.install();
  });
});

describe('the package index', () => {
  const host = /pypi\.org|`[^`]+`/;

  test.skipIf(missing.network)(
    'out of reach is named, with the way without a network',
    async () => {
      const user = new User({ seeded: false });
      const begun = performance.now();
      const said = await user.failingInstall({ through: withoutNetwork });
      expect(performance.now() - begun).toBeLessThan(40_000);
      expect(said).toMatch(/Could not (resolve|connect to)/);
      expect(said).toMatch(host);
      expect(said).toContain('KTX_UV=');
      await user.install();
    },
  );

  test.skipIf(missing.network)('is not needed for what the cache holds', async () => {
    const user = new User();
    await user.install([], { through: withoutNetwork });
    await user.expectRuns({ through: withoutNetwork });
  });

  test.skipIf(missing.network)('is named when only the packages are missing', async () => {
    const user = new User();
    rmSync(join(user.root, 'cache'), { recursive: true });
    const said = await user.failingInstall({ through: withoutNetwork });
    expect(said).toMatch(/^Python runtime install failed: .*https?:.*msgpack.*Install log: .*\n/);
    expect(said).toMatch(/^Fix: .*UV_DEFAULT_INDEX=/m);
    expect(said).toContain(`Install log: ${user.versionDir}/install.log\n`);
    expect(user.entries()).toEqual(['install.log']);
    await user.install();
  });

  describe('that answers something else', () => {
    const local = (index: string) => ({
      UV_DEFAULT_INDEX: index,
      NO_PROXY: '127.0.0.1',
      no_proxy: '127.0.0.1',
    });

    test('with a login page is told from one that is out of reach', async () => {
      const index = await packageIndex((_request, response) => {
        response.setHeader('content-type', 'text/html');
        response.end('<html><body><form>Please log in<input type=password></form></body></html>');
      });
      const user = new User({ seeded: false, env: local(index) });
      const said = await user.failingInstall();
      expect(said).toContain('is not a package index');
      expect(said).toContain(new URL(index).host);
      expect(said).toMatch(/^Fix: .*[Ll]og in/m);
    });

    test('with 404 is named', async () => {
      const index = await packageIndex((_request, response) => void response.writeHead(404).end());
      const user = new User({ seeded: false, env: local(index) });
      const said = await user.failingInstall();
      expect(said).toContain(new URL(index).host);
      expect(said).toContain('404');
    });

    test('with other bytes than the pinned ones is a checksum failure', async () => {
      const pins = JSON.parse(
        readFileSync(join(import.meta.dirname, '../release/uv-pins.json'), 'utf8'),
      );
      const { file, bytes } = pins.platforms[`linux-${process.arch}-gnu`];
      const index = await packageIndex((request, response) => {
        if (request.url?.endsWith('.whl')) response.end(Buffer.alloc(bytes));
        else
          response
            .setHeader('content-type', 'text/html')
            .end(`<a href="/files/${file}">${file}</a>`);
      });
      const user = new User({ seeded: false, env: local(index) });
      const said = await user.failingInstall();
      expect(said).toContain(`Checksum mismatch: \`${file}\``);
      expect(existsSync(keptUv(user.root))).toBe(false);
    });

    test('for packages too is an error, and nothing is installed', async () => {
      const index = await packageIndex((_request, response) => void response.writeHead(503).end());
      const user = new User({ env: local(index) });
      rmSync(join(user.root, 'cache'), { recursive: true });
      expect(await user.failingInstall()).toMatch(/^Python runtime install failed: /);
      expect(user.entries()).toEqual(['install.log']);
    });
  });
});

describe('Python', () => {
  let user: User;

  beforeAll(() => {
    user = new User();
  });

  test.skipIf(missing.network)('that is missing, and cannot be fetched, is named', async () => {
    const path = temporaryDirectory('bin-');
    const said = await user.failingInstall({ env: { PATH: path }, through: withoutNetwork });
    expect(said).toMatch(/No Python >=3\.10 was found/);
    expect(said).toMatch(/^Fix: .*Install Python >=3\.10.*ktx runtime install --yes/m);
  });

  test('that does not run is not believed', async () => {
    const path = temporaryDirectory('bin-');
    writeFileSync(
      join(path, 'python3'),
      '#!/bin/sh\necho 3.12.0; echo /nowhere/python3; exit 1\n',
      { mode: 0o755 },
    );
    await user.install([], { env: { PATH: `${path}:${suite.path}` } });
    await user.expectRuns();
  });
});
