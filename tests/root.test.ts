// Homes and runtime roots that cannot, or must not, be used.
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { missing, remounted } from './support/system.js';
import { User, keptUv, seedRoot, suite, temporaryDirectory } from './support/user.js';

const STRANGER = 12_345;
const chooses = /^Fix: .*`export KTX_RUNTIME_ROOT=\S+`/m;

describe.skipIf(missing.mount)('a read-only root', () => {
  test('serves what is installed, and says why nothing can be installed', async () => {
    const user = new User();
    await user.install();
    const through = remounted(dirname(user.root), 'ro');
    expect(await user.status({ through })).toMatchObject({ kind: 'ready' });
    expect((await user.ktx(['runtime', 'doctor'], { through })).code).toBe(0);
    expect(await user.install([], { through })).toMatch(/^Using existing/);
    await user.expectRuns({ through });
    const dryRun = await user.ktx(['runtime', 'prune', '--dry-run'], { through });
    expect(dryRun).toMatchObject({ code: 0, stderr: '' });
    const done = await user.ktx(['runtime', 'install', '--force', '--yes'], { through });
    expect(done.code).toBe(1);
    expect(done.stderr).toMatch(/^Cannot write to the runtime root `.*`: .*[Rr]ead-only/);
    expect(done.stderr).toMatch(chooses);
    await user.expectRuns();
  });

  test('that is not there yet is named as well', async () => {
    const user = new User({ seeded: false });
    const through = remounted(user.home, 'ro');
    expect((await user.status({ through })).kind).toBe('missing');
    const said = await user.failingInstall({ through });
    expect(said).toContain(user.home);
    expect(said).toMatch(/[Rr]ead-only/);
    expect(said).toMatch(chooses);
  });
});

describe('a home', () => {
  const user = new User({ seeded: false });
  const commands = [
    ['runtime', 'status'],
    ['runtime', 'doctor'],
    ['runtime', 'install', '--yes'],
    ['runtime', 'prune', '--yes'],
    ['exec', '--yes', '-c', '1'],
  ];

  test.each(commands)('that is unset is named by `%s %s`', async (...args) => {
    const done = await user.ktx(args.filter(Boolean), { env: { HOME: undefined } });
    expect(done).toMatchObject({ code: 1, stdout: '' });
    expect(done.stderr).toContain('HOME is not set');
    expect(done.stderr).toMatch(chooses);
  });

  test('that is not there is named, and not made', async () => {
    const env = { HOME: '/nonexistent' };
    expect((await user.status({ env })).kind).toBe('missing');
    const said = await user.failingInstall({ env });
    expect(said).toContain('`/nonexistent` does not exist');
    expect(said).toMatch(chooses);
    expect(existsSync('/nonexistent')).toBe(false);
  });

  test('is not needed where the root is set', async () => {
    const root = temporaryDirectory('root-');
    seedRoot(root);
    const env = { HOME: undefined, KTX_RUNTIME_ROOT: root };
    const done = await user.ktx(['runtime', 'install', '--yes'], { env });
    expect(done).toMatchObject({ code: 0, stderr: '' });
    await user.expectRuns({ env });
  });
});

describe('a root that others can write to', () => {
  test.skipIf(missing.root)('because it is theirs is refused', async () => {
    const user = new User();
    chownSync(user.root, STRANGER, STRANGER);
    const said = await user.failingInstall();
    expect(said).toContain(
      `Refusing to write to \`${user.root}\`: it belongs to another user (uid ${STRANGER})`,
    );
    expect(said).toMatch(chooses);
    expect(user.entries()).toEqual([]);
    expect((await user.status()).kind).toBe('missing');
  });

  test('because everybody can is refused until they cannot', async () => {
    const user = new User();
    chmodSync(user.root, 0o777);
    const said = await user.failingInstall();
    expect(said).toContain(`Refusing to write to \`${user.root}\`: every user may write to it`);
    expect(said).toContain(`chmod o-w '${user.root}'`);
    expect(user.entries()).toEqual([]);
    chmodSync(user.root, 0o775);
    await user.install();
  });

  test('is refused for the version directory too', async () => {
    const user = new User();
    mkdirSync(user.versionDir);
    chmodSync(user.versionDir, 0o777);
    expect(await user.failingInstall()).toContain(user.versionDir);
    expect(user.entries()).toEqual([]);
  });

  test.skipIf(missing.root).each(['', '/cache', '/uv', `/${suite.version}`])(
    'because somebody else linked <root>%s to their place is not written through',
    async (name) => {
      const user = new User();
      const theirs = temporaryDirectory('theirs-');
      const path = `${user.root}${name}`;
      rmSync(path, { recursive: true, force: true });
      symlinkSync(theirs, path);
      lchownSync(path, STRANGER, STRANGER);
      const said = await user.failingInstall();
      expect(said).toContain(path);
      expect(said).toMatch(chooses);
      expect(readdirSync(theirs)).toEqual([]);
    },
  );
});

describe('planted links', () => {
  test.each(['install.log', 'manifest.json'])(
    'at %s are replaced or refused, never written through',
    async (name) => {
      const user = new User();
      const victim = join(user.home, 'victim');
      writeFileSync(victim, 'mine');
      mkdirSync(user.versionDir, { mode: 0o700 });
      symlinkSync(victim, join(user.versionDir, name));
      await user.ktx(['runtime', 'install', '--yes']);
      expect(readFileSync(victim, 'utf8')).toBe('mine');
      rmSync(join(user.versionDir, name), { force: true });
      await user.install(['--force']);
      expect(readFileSync(victim, 'utf8')).toBe('mine');
    },
  );

  test('of the user to another disk are followed', async () => {
    const user = new User();
    const disk = temporaryDirectory('disk-');
    seedRoot(disk);
    rmSync(user.root, { recursive: true });
    symlinkSync(disk, user.root);
    await user.install();
    await user.expectRuns();
    expect(readdirSync(disk)).toContain(suite.version);
  });
});

test('whatever the umask, nobody else can look into a runtime', async () => {
  const user = new User({ seeded: false, env: { KTX_UV: keptUv(suite.seed) } });
  await user.install([], { through: ['/bin/sh', '-c', 'umask 000; exec "$@"', 'sh'] });
  const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
  expect(mode(user.root)).toBe('700');
  expect(mode(user.versionDir)).toBe('700');
  expect(mode(user.manifestPath)).toBe('600');
  expect(mode(join(user.versionDir, 'install.log'))).toBe('600');
  expect(mode(`${user.root}.lock`)).toBe('600');
  expect(mode(dirname(user.root))).toBe('700');
});

test('with a strict umask a runtime still works', async () => {
  const user = new User({ seeded: false, env: { KTX_UV: keptUv(suite.seed) } });
  await user.install([], { through: ['/bin/sh', '-c', 'umask 077; exec "$@"', 'sh'] });
  await user.expectRuns();
});

test('a file where the root should be is named', async () => {
  const file = join(temporaryDirectory(), 'file');
  writeFileSync(file, '');
  const user = new User({ root: file, seeded: false });
  const said = await user.failingInstall();
  expect(said).toContain(`\`${file}\``);
  expect(said).toMatch(chooses);
  const below = new User({ root: join(file, 'below'), seeded: false });
  expect(await below.failingInstall()).toContain(file);
  expect((await below.status()).kind).toBe('missing');
});
