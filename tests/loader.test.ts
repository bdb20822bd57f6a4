// Platform packages that are missing, damaged or of another version: the cause first, then the fix.
import { readdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { ASSET_DIR, PACKAGE, User, VERSION, copyOfPackages, temporaryDirectory } from './support/user.js';

const NAME = basename(dirname(ASSET_DIR));
const SCOPE = dirname(PACKAGE);
const OTHER = `${basename(PACKAGE)}-darwin-arm64`;

let user: User;
let packageDir: string;

beforeEach(() => {
  const project = copyOfPackages(join(temporaryDirectory('loader-'), 'project'));
  user = new User({ project });
  packageDir = join(project, 'node_modules', SCOPE, NAME);
});

const faults: [string, () => void, RegExp][] = [
  [
    'missing',
    () => rmSync(packageDir, { recursive: true }),
    new RegExp(`^Cannot find the package ${SCOPE}/${NAME}`),
  ],
  [
    'without its addon',
    () => rmSync(join(packageDir, 'ktx.node')),
    /^Cannot load the native addon in .*: /,
  ],
  [
    'with an empty addon',
    () => truncateSync(join(packageDir, 'ktx.node'), 0),
    /^Cannot load the native addon in .*: .*(file too short|ELF|header)/,
  ],
  [
    'with an addon that is no library',
    () => writeFileSync(join(packageDir, 'ktx.node'), 'hello'),
    /^Cannot load the native addon in .*: /,
  ],
  [
    "another platform's",
    () => renameSync(packageDir, join(packageDir, '..', OTHER)),
    new RegExp(`^Cannot find the package .*\\nFound instead: ${SCOPE}/${OTHER}, `),
  ],
];

test.each(faults)(
  'a platform package that is %s is told with its fix',
  async (_name, damage, message) => {
    damage();
    for (const args of [
      ['runtime', 'status', '--json'],
      ['runtime', 'install', '--yes'],
      ['exec', '-c', '1'],
    ]) {
      const done = await user.ktx(args);
      expect(done).toMatchObject({ code: 1, stdout: '' });
      expect(done.stderr).toMatch(message);
      expect(done.stderr).toMatch(/^Fix: .*npm install/m);
      expect(done.stderr).not.toMatch(/^ +at /m);
    }
    expect(await user.ktx(['--version'])).toMatchObject({ code: 0, stdout: `${VERSION}\n` });
    expect(readdirSync(user.root).toSorted()).toEqual(['cache', 'uv']);
  },
);
