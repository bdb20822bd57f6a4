// Names that mean something to a shell, a URL, a requirements file or a glob.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { User, copyOfPackages, temporaryDirectory } from './support/user.js';

const names = [
  'with spaces  and\ttab',
  `quotes ' " \``,
  '%20 %s %PATH% 100%',
  '[core] {a,b} *.? (x)',
  'ünïcödé 日本語 e\u0301 🐍',
  '$HOME ~ #1; & | < > ! = , ^',
  '-r --python @ git+https:',
  'back\\slash\\',
  ...[200, 255].map((length) => 'x'.repeat(length)),
];

describe.each(names)('%j', (name) => {
  test('is a home, a runtime root and a package folder like any other', async () => {
    const parent = temporaryDirectory('paths-');
    const project = copyOfPackages(join(parent, `p ${name}`.slice(0, 255)));
    const home = join(parent, `h ${name}`.slice(0, 255));
    for (const user of [
      new User({ home, project }),
      new User({ home, project, root: join(parent, `r ${name}`.slice(0, 250), 'ä') }),
    ]) {
      expect(await user.install()).toContain(`python: ${user.versionDir}/.venv/bin/python\n`);
      expect(await user.status()).toMatchObject({ kind: 'ready' });
      await user.expectRuns();
      expect((await user.ktx(['runtime', 'doctor'])).code).toBe(0);
      expect(await user.install(['--force'])).toMatch(/^Installed/);
    }
    const user = new User({ home, project, seeded: false });
    writeFileSync(join(home, name.slice(0, 250)), 'import sys; print(sys.argv[0], sys.argv[1:])');
    const ran = await user.ktx(['exec', `./${name.slice(0, 250)}`, '--', name]);
    expect(ran).toMatchObject({ code: 0, stderr: '' });
  });
});

test('a relative root is one of the working directory', async () => {
  const home = temporaryDirectory('paths-');
  const user = new User({ home, env: { KTX_RUNTIME_ROOT: 'rel/../root' } });
  const done = await user.ktx(['runtime', 'install', '--yes']);
  expect(done).toMatchObject({ code: 0, stderr: '' });
  await user.expectRuns();
});
