// Prune: what is stale goes, what is used or not ktx's own stays, whatever happens meanwhile.
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { eventually } from './support/processes.js';
import { injected, missing, mostFrequent, tracedAlone, withMounts } from './support/system.js';
import { User, VERSION, ktxModule as ktx, temporaryDirectory } from './support/user.js';

describe('prune', () => {
  const stale = ['0.0.1', '0.0.2-rc.1'];
  const kept = ['not-a-version', 'uv', 'cache', VERSION];
  let user: User;
  let outside: string;

  beforeAll(() => {
    user = new User();
    outside = temporaryDirectory();
    writeFileSync(join(outside, 'file'), 'mine');
    for (const name of [...stale, ...kept]) mkdirSync(join(user.root, name), { recursive: true });
    writeFileSync(join(user.root, '0.0.1', 'manifest.json'), '{}');
    writeFileSync(join(user.root, '9.9.9'), 'a file that is named like a version');
    symlinkSync(outside, join(user.root, '8.8.8'));
    symlinkSync(outside, join(user.root, '0.0.1', 'link'));
  });

  const stalePaths = (): string => stale.map((name) => `${join(user.root, name)}\n`).join('');

  test('refuses without --yes', async () => {
    expect(await user.ktx(['runtime', 'prune'])).toEqual({
      code: 1,
      signal: null,
      stdout: '',
      stderr: 'Refusing to prune without --yes. Preview with: ktx runtime prune --dry-run\n',
    });
  });

  test('lists what it would remove, removes that, and keeps what is not its own', async () => {
    const before = readdirSync(user.root).toSorted();
    expect(await user.ktx(['runtime', 'prune', '--dry-run'])).toMatchObject({
      code: 0,
      stdout: `Stale KTX Python runtimes\n${stalePaths()}`,
    });
    expect(readdirSync(user.root).toSorted()).toEqual(before);
    expect(await user.ktx(['runtime', 'prune', '--yes'])).toMatchObject({
      code: 0,
      stdout: `Removed stale KTX Python runtimes\n${stalePaths()}`,
    });
    expect(readdirSync(user.root).toSorted()).toEqual([...kept, '8.8.8', '9.9.9'].toSorted());
    expect(readdirSync(outside)).toEqual(['file']);
    const again = await user.ktx(['runtime', 'prune', '--yes']);
    expect(again).toMatchObject({ code: 0, stdout: expect.not.stringContaining('emoved') });
  });
});

describe('prune of a version', () => {
  const STALE = '0.0.1';
  let user: User;
  let versionDir: string;

  beforeEach(async () => {
    user = new User();
    versionDir = join(user.root, STALE);
    await ktx.installManagedPythonRuntime({
      ...user.options,
      cliVersion: STALE,
      features: ['core'],
    });
  });

  const prune = () => user.ktx(['runtime', 'prune', '--yes']);

  test('that runs code waits until it is over', async () => {
    const runtime = await ktx.PythonRuntime.ensure({ ...user.options, cliVersion: STALE });
    expect(runtime.status).toBe('ready');
    const [begun, end] = [join(user.home, 'begun'), join(user.home, 'end')];
    const code = `
import os, time
open(${JSON.stringify(begun)}, 'w').close()
while not os.path.exists(${JSON.stringify(end)}): time.sleep(0.01)
import msgpack, decimal
msgpack.packb(1)[0]`;
    const running = runtime.execute(code);
    await eventually('Python runs', () => existsSync(begun));
    const found = await ktx.pruneManagedPythonRuntimes({
      cliVersion: VERSION,
      runtimeRoot: user.root,
    });
    expect(found).toEqual({ runtimeRoot: user.root, stale: [], kept: [versionDir], removed: [] });
    writeFileSync(end, '');
    expect((await running).value).toBe(1);
    expect((await prune()).stdout).toContain(versionDir);
    expect(existsSync(versionDir)).toBe(false);
  });

  // The manifest goes first, so that what is left is not taken for a runtime.
  test.skipIf(missing.strace).each([
    ['first', ['ready', 'missing']],
    ['second', ['missing']],
    ['last', ['missing']],
  ])(
    'is finished by the next one when it is killed at its %s removal, and is one of %j until then',
    async (which, kinds) => {
      const calls = 'unlink,unlinkat';
      const when = which === 'first' ? 1 : which === 'second' ? 2 : await removals(calls);
      const killed = await user.ktx(['runtime', 'prune', '--yes'], {
        through: injected(calls, `signal=SIGKILL:when=${when}`),
      });
      expect(killed.stdout).toBe('');
      expect(readdirSync(user.root)).toContain(STALE);
      const options = { ...user.options, cliVersion: STALE };
      const { kind } = await ktx.readManagedPythonRuntimeStatus(options);
      expect(kinds).toContain(kind);
      if (kind === 'ready') {
        const runtime = await ktx.PythonRuntime.ensure(options);
        expect(runtime.status).toBe('ready');
        expect((await runtime.execute('import msgpack; 6 * 7')).value).toBe(42);
      }
      expect(await prune()).toMatchObject({ code: 0, stderr: '' });
      expect(readdirSync(user.root)).not.toContain(STALE);
    },
  );

  /** How many removals a prune of such a version takes. */
  async function removals(calls: string): Promise<number> {
    const other = new User();
    await ktx.installManagedPythonRuntime({
      ...other.options,
      cliVersion: STALE,
      features: ['core'],
    });
    const file = join(other.home, 'trace');
    const through = tracedAlone(file, calls);
    const done = await other.ktx(['runtime', 'prune', '--yes'], { through });
    expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining(STALE) });
    return mostFrequent(file, calls).count;
  }

  test('is done once by two at once', async () => {
    const done = await Promise.all([prune(), prune()]);
    expect(done.map(({ code, stderr }) => [code, stderr])).toEqual([
      [0, ''],
      [0, ''],
    ]);
    expect(done.filter(({ stdout }) => stdout.startsWith('Removed'))).toHaveLength(1);
    expect(readdirSync(user.root)).not.toContain(STALE);
  });

  test.skipIf(missing.mount)('leaves one alone that holds a mounted file system', async () => {
    const inside = join(versionDir, 'inside');
    const theirs = temporaryDirectory('theirs-');
    writeFileSync(join(theirs, 'file'), 'theirs');
    mkdirSync(inside);
    const through = withMounts(`mount --bind '${theirs}' '${inside}'`);
    const done = await user.ktx(['runtime', 'prune', '--yes'], { through });
    expect(done).toMatchObject({ code: 0, stdout: expect.not.stringContaining('Removed') });
    expect(readFileSync(join(theirs, 'file'), 'utf8')).toBe('theirs');
    expect(existsSync(join(versionDir, 'manifest.json'))).toBe(true);
  });

  test('that is the current one never happens', async () => {
    await user.install();
    expect(await prune()).toMatchObject({ code: 0, stdout: expect.stringContaining(versionDir) });
    await user.expectRuns();
  });
});
