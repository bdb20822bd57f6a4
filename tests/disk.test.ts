// Room on the disk: what an installation takes, and what happens where there is none.
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { uvThatBefore } from './support/fakes.js';
import { injected, missing, withMounts } from './support/system.js';
import { User, keptUv, suite, temporaryDirectory } from './support/user.js';

const uv = keptUv(suite.seed);

/** A user whose runtime root is a small file system, for as long as a command runs. */
function userOnDisk(size: string, script = 'exec "$@"') {
  const user = new User({ root: temporaryDirectory('disk-'), seeded: false, env: { KTX_UV: uv } });
  const through = withMounts(`mount -t tmpfs -o ${size},mode=700 tmpfs '${user.root}'`).concat(
    '/bin/sh',
    '-c',
    `PATH=$PATH:/usr/bin:/bin; cd '${user.root}'; ${script}`,
    'sh',
  );
  return { user, through };
}

describe.skipIf(missing.mount)('a full disk', () => {
  test('is noticed before anything is written', async () => {
    const { user, through } = userOnDisk('size=20m', '"$@"; code=$?; ls -A *; exit $code');
    const done = await user.ktx(['runtime', 'install', '--yes'], { through });
    expect(done.code).toBe(1);
    expect(done.stderr).toMatch(
      /^Not enough disk space for the KTX Python runtime in `.*`: (\d+) MiB needed, (19|20) MiB free\nFix: /,
    );
    expect(done.stderr).toContain('ktx runtime prune --yes');
    expect(done.stdout).toBe('');
  });

  test('is noticed before its files run out', async () => {
    const { user, through } = userOnDisk('nr_inodes=100', '"$@"; code=$?; ls -A *; exit $code');
    const done = await user.ktx(['runtime', 'install', '--yes'], { through });
    expect(done.code).toBe(1);
    expect(done.stderr).toMatch(
      /^Not enough inodes for the KTX Python runtime in `.*`: (\d+) needed, \d+ free\nFix: /,
    );
    expect(done.stdout).toBe('');
  });

  test.each(['venv', 'pip install'] as const)(
    'during an installation, before `%s`, costs the attempt and nothing else',
    async (words) => {
      const script = `
        "$@" >/dev/null || exit 90
        : > fill
        "$@" --force && exit 91
        rm fill filler
        ls -A ${suite.version}; du -sm ${suite.version} | cut -f1
        "$@" | head -n 1
        KTX_UV='${uv}' "$@" --force | head -n 1`;
      const { user, through } = userOnDisk('size=110m', script);
      const fill = `test -e '${user.root}/fill' && dd if=/dev/zero of='${user.root}/filler' bs=64k 2>/dev/null`;
      const done = await user.ktx(['runtime', 'install', '--yes'], {
        through,
        env: { KTX_UV: uvThatBefore(words, fill) },
      });
      expect(done.code).toBe(0);
      expect(done.stderr).toMatch(
        /^Not enough disk space for the KTX Python runtime in `.*`: \d+ MiB needed, 0 MiB free\nFix: .*\n(.*\n)?Log: .*install\.log\n$/,
      );
      const lines = done.stdout.trim().split('\n');
      expect(lines).toEqual([
        '.venv',
        'install.log',
        'manifest.json',
        expect.stringMatching(/^[1-9]$/),
        'Using existing KTX Python runtime',
        'Installed KTX Python runtime',
      ]);
    },
  );

  test('does not keep prune from making room', async () => {
    const script = `
      mkdir 0.0.1; echo x > 0.0.1/file
      dd if=/dev/zero of=filler bs=64k 2>/dev/null
      "$@"; code=$?; ls -A; exit $code`;
    const { user, through } = userOnDisk('size=2m', script);
    const done = await user.ktx(['runtime', 'prune', '--yes'], { through });
    expect(done).toMatchObject({
      code: 0,
      stderr: '',
      stdout: `Removed stale KTX Python runtimes\n${join(user.root, '0.0.1')}\nfiller\n`,
    });
  });
});

describe.skipIf(missing.strace)('a disk that fails', () => {
  // The first three are the last steps of publishing a manifest.
  test.each([
    ['syncfs', 'EIO'],
    ['fsync', 'EIO'],
    ['rename,renameat,renameat2', 'EIO'],
    ['fsync', 'ENOSPC'],
  ])('at %s with %s publishes nothing and names the path', async (calls, error) => {
    const user = new User();
    await user.install();
    const before = readFileSync(user.manifestPath, 'utf8');
    const through = injected(calls, `error=${error}`);
    const done = await user.ktx(['runtime', 'install', '--force', '--yes'], { through });
    expect(done).toMatchObject({ code: 1, stdout: '' });
    expect(done.stderr).toContain(user.versionDir);
    expect(done.stderr).toMatch(/^Fix: /m);
    expect(readFileSync(user.manifestPath, 'utf8')).toBe(before);
    expect(user.entries()).toEqual(['.venv', 'install.log', 'manifest.json']);
    await user.expectRuns();
    await user.install(['--force']);
    expect(existsSync(join(user.versionDir, '.venv'))).toBe(false);
  });
});

test('an installation that replaces another takes no more room', async () => {
  const user = new User();
  const room = (): number => {
    const entries = readdirSync(user.root, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile());
    return files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
  };
  await user.install();
  const before = room();
  await user.install(['--force']);
  // uv notes what it learnt of the new interpreter.
  expect(room() - before).toBeLessThan(10_000);
});
