// The lock of a runtime root: what is said to whoever waits for it, and where it is hard to take.
import { existsSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { uvThatBefore, uvThatStopsBefore } from './support/fakes.js';
import { endAfterTest, eventually } from './support/processes.js';
import { missing, traced, withMounts } from './support/system.js';
import { User, ktxModule } from './support/user.js';

test('whoever waits is told for whom', async () => {
  const user = new User();
  const holder = user.start(['runtime', 'install', '--yes'], {
    env: { KTX_UV: uvThatBefore('pip install', `touch '${user.home}/begun'; sleep 1`) },
  });
  await expect.poll(() => readdirSync(user.home)).toContain('begun');
  const details: (string | undefined)[] = [];
  const waiter = await ktxModule.installManagedPythonRuntime({
    ...user.options,
    features: ['core'],
    onProgress: ({ preset, detail }) => {
      if (preset === 'lock') details.push(detail);
    },
  });
  expect((await holder.finished).code).toBe(0);
  expect(waiter.status).toBe('ready');
  expect(details).toContainEqual(
    expect.stringMatching(
      new RegExp(`^Waiting for process ${holder.pid} \\(\`.*runtime install --yes\`\\)$`),
    ),
  );
});

test('a holder that is stopped is waited for within a bound, and named', async () => {
  const user = new User();
  const holder = endAfterTest(
    user.start(['runtime', 'install', '--yes'], { env: { KTX_UV: uvThatStopsBefore('venv') } }),
  );
  await eventually(
    'the holder is at work',
    () => existsSync(user.root + '.lock') && user.entries().length > 1,
  );
  holder.kill('SIGSTOP');
  const begun = performance.now();
  const said = await user.failingInstall();
  const seconds = (performance.now() - begun) / 1000;
  expect(seconds).toBeGreaterThan(25);
  expect(seconds).toBeLessThan(40);
  expect(said).toContain(`${user.root}.lock`);
  expect(said).toMatch(new RegExp(`process ${holder.pid} \\(\`.*ktx runtime install --yes\`\\)`));
  expect(said).toContain(`kill ${holder.pid}`);
  holder.kill('SIGKILL');
  await holder.finished;
  await user.install();
});

test.skipIf(missing.mount)(
  'the root itself is locked where its folder cannot be written',
  async () => {
    const user = new User();
    const folder = join(user.root, '..');
    const installs = '"$@" & first=$!; "$@"; wait $first';
    const through = withMounts(
      `mount --bind '${user.root}' '${user.root}'
     mount --rbind '${folder}' '${folder}'
     mount -o remount,bind,ro '${folder}'`,
    ).concat('/bin/sh', '-c', installs, 'sh');
    const done = await user.ktx(['runtime', 'install', '--yes'], { through });
    expect(done).toMatchObject({ code: 0, stderr: '' });
    expect(done.stdout.match(/^(Installed|Using existing)/gm)?.toSorted()).toEqual([
      'Installed',
      'Using existing',
    ]);
    expect(existsSync(`${user.root}.lock`)).toBe(false);
    expect(user.entries()).toEqual(['.venv', 'install.log', 'manifest.json']);
    await user.expectRuns();
  },
);

test('a planted link is not locked, nor written through', async () => {
  const user = new User();
  const victim = join(user.home, 'victim');
  writeFileSync(victim, 'mine');
  symlinkSync(victim, `${user.root}.lock`);
  const said = await user.failingInstall();
  expect(said).toContain(`${user.root}.lock`);
  expect(said).toContain('symbolic link');
  expect(said).toMatch(/^Fix: .*KTX_RUNTIME_ROOT=/m);
  expect(readFileSync(victim, 'utf8')).toBe('mine');
  expect(user.entries()).toEqual([]);
});

test.skipIf(missing.strace).each(['ENOLCK', 'ENOSYS'])(
  'a file system without locks (%s) is never used unlocked',
  async (error) => {
    const user = new User();
    const through = traced(join(user.home, 'trace'), 'flock').concat(
      '-e',
      `inject=flock:error=${error}`,
    );
    const said = await user.failingInstall({ through });
    expect(said).toContain('does not support file locks');
    expect(said).toMatch(/^Fix: .*KTX_RUNTIME_ROOT=/m);
    expect(user.entries()).toEqual([]);
  },
);
