// Installations that meet: one works, the others wait for it, and none harms another.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { uvThatBefore } from './support/fakes.js';
import { run } from './support/processes.js';
import { PACKAGE, User, VERSION, ktxModule as ktx, suite } from './support/user.js';

test(
  'of 32 installations at once one does the work and all succeed',
  { timeout: 120_000 },
  async () => {
    const user = new User();
    const done = await Promise.all(
      Array.from({ length: 32 }, () => user.ktx(['runtime', 'install', '--yes'])),
    );
    expect(done.filter(({ code, stderr }) => code !== 0 || stderr !== '')).toEqual([]);
    const answers = done.map(({ stdout }) => stdout.split(' ')[0]).toSorted();
    expect(answers).toEqual(['Installed', ...Array<string>(31).fill('Using')]);
    expect(user.entries()).toEqual(['.venv', 'install.log', 'manifest.json']);
    await user.expectRuns();
  },
);

test('of 6 forced installations at once all succeed and one environment is left', async () => {
  const user = new User();
  const done = await Promise.all(
    Array.from({ length: 6 }, () => user.ktx(['runtime', 'install', '--force', '--yes'])),
  );
  expect(done.map(({ code }) => code)).toEqual(Array(6).fill(0));
  expect(user.entries()).toEqual([
    expect.stringMatching(/^\.venv/),
    'install.log',
    'manifest.json',
  ]);
  await user.expectRuns();
});

test('two versions installed at once on one root are both ready', async () => {
  const user = new User();
  const other = '0.0.1-other.1';
  const program = `
    const { installManagedPythonRuntime } = require('${PACKAGE}');
    const options = { cliVersion: process.argv[1], features: ['core'], force: true };
    installManagedPythonRuntime(options).then(({ status }) => console.log(status));`;
  const install = (version: string) =>
    run(join(suite.path, 'node'), ['-e', program, version], { env: user.env, cwd: suite.project });
  const done = await Promise.all([VERSION, other, VERSION, other].map(install));
  expect(done.map(({ code, stdout }) => [code, stdout])).toEqual(Array(4).fill([0, 'installed\n']));
  for (const cliVersion of [VERSION, other]) {
    expect(await ktx.readManagedPythonRuntimeStatus({ ...user.options, cliVersion })).toMatchObject(
      {
        kind: 'ready',
      },
    );
  }
  expect(readdirSync(user.root).toSorted()).toEqual([other, VERSION, 'cache', 'uv']);
  await user.expectRuns();
});

test('pruning while another version is installed waits, and takes only what is stale', async () => {
  const user = new User();
  const installing = user.start(['runtime', 'install', '--yes'], {
    env: { KTX_UV: uvThatBefore('pip install', 'sleep 1') },
  });
  const pruned = await ktx.pruneManagedPythonRuntimes({
    cliVersion: '9.9.9',
    runtimeRoot: user.root,
  });
  const done = await installing.finished;
  expect(done.code).toBe(0);
  // Whichever came first: what is reported removed is gone, and what is kept is whole.
  const status = await user.status();
  expect(status.kind).toBe(pruned.removed.includes(user.versionDir) ? 'missing' : 'ready');
});

test('whoever waits is told for whom', async () => {
  const user = new User();
  const holder = user.start(['runtime', 'install', '--yes'], {
    env: { KTX_UV: uvThatBefore('pip install', `touch '${user.home}/begun'; sleep 1`) },
  });
  await expect.poll(() => readdirSync(user.home)).toContain('begun');
  const details: (string | undefined)[] = [];
  const waiter = await ktx.installManagedPythonRuntime({
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
