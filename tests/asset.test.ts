// Assets that are damaged where npm put them: refused before uv sees them, and healed by what npm
// installs again.
import {
  appendFileSync,
  copyFileSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { uvThatBefore } from './support/fakes.js';
import { ASSET_DIR, User, copyOfPackages, temporaryDirectory } from './support/user.js';

const MANIFEST = JSON.parse(readFileSync(join(ASSET_DIR, 'manifest.json'), 'utf8'));

let project: string;
let manifestPath: string;
let wheelPath: string;
let lockPath: string;

beforeAll(() => {
  project = copyOfPackages(join(temporaryDirectory('asset-'), 'project'));
  const directory = ASSET_DIR.slice(ASSET_DIR.indexOf('node_modules'));
  manifestPath = join(project, directory, 'manifest.json');
  wheelPath = join(project, directory, MANIFEST.wheel.file);
  lockPath = join(project, directory, MANIFEST.lock.file);
});

beforeEach(() => {
  for (const path of [manifestPath, wheelPath, lockPath]) {
    rmSync(path, { recursive: true, force: true });
    copyFileSync(join(ASSET_DIR, basename(path)), path);
  }
});

const text = (): string => JSON.stringify(MANIFEST);

function flipByte(path: string): void {
  const bytes = readFileSync(path);
  const middle = bytes.length >> 1;
  bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
  writeFileSync(path, bytes);
}

const invalid = /^Invalid bundled Python runtime manifest: /;
const mismatch = (path: () => string) => () =>
  `Bundled Python runtime wheel checksum mismatch: ${path()}`;

const faults: [string, () => void, RegExp | (() => string)][] = [
  [
    'a missing manifest',
    () => rmSync(manifestPath),
    () => `Missing bundled Python runtime manifest: ${manifestPath}`,
  ],
  ['an empty manifest', () => truncateSync(manifestPath, 0), invalid],
  ['a truncated manifest', () => truncateSync(manifestPath, 100), invalid],
  [
    'a manifest with a byte order mark',
    () => writeFileSync(manifestPath, `\uFEFF${text()}`),
    invalid,
  ],
  [
    'a manifest with a duplicate key',
    () => writeFileSync(manifestPath, text().replace('{', '{"schemaVersion":1,')),
    invalid,
  ],
  [
    'a manifest of schema 2',
    () => writeFileSync(manifestPath, JSON.stringify({ ...MANIFEST, schemaVersion: 2 })),
    invalid,
  ],
  ['a manifest of 100 MB', () => truncateSync(manifestPath, 100_000_000), invalid],
  [
    'a manifest that is a directory',
    () => (rmSync(manifestPath), symlinkSync('/', manifestPath)),
    /manifest/,
  ],
  ['a wheel with a flipped bit', () => flipByte(wheelPath), mismatch(() => wheelPath)],
  ['a truncated wheel', () => truncateSync(wheelPath, 1000), mismatch(() => wheelPath)],
  ['a longer wheel', () => appendFileSync(wheelPath, 'x'), mismatch(() => wheelPath)],
  [
    'a missing wheel',
    () => rmSync(wheelPath),
    () => `Missing bundled Python runtime file: ${wheelPath}`,
  ],
  [
    'a wheel behind a link',
    () => (renameSync(wheelPath, `${wheelPath}.real`), symlinkSync(`${wheelPath}.real`, wheelPath)),
    /not a regular file/,
  ],
  ['a lock with a flipped bit', () => flipByte(lockPath), mismatch(() => lockPath)],
  ...['../evil.whl', '/etc/passwd', 'C:\\evil.whl', 'a\u0000b.whl'].map(
    (file): [string, () => void, () => string] => [
      `the file name ${JSON.stringify(file)}`,
      () =>
        writeFileSync(
          manifestPath,
          JSON.stringify({ ...MANIFEST, wheel: { ...MANIFEST.wheel, file } }),
        ),
      () => `Unsafe runtime wheel filename in bundled manifest: ${file}`,
    ],
  ),
];

describe.each(faults)('%s', (_name, damage, message) => {
  test('is refused with its fix, and the next installation heals', async () => {
    const user = new User({ project });
    damage();
    const said = await user.failingInstall();
    const [first = '', ...rest] = said.trimEnd().split('\n');
    if (message instanceof RegExp) expect(first).toMatch(message);
    else expect(first).toContain(message());
    expect(rest).toEqual([expect.stringMatching(/^Fix: .*npm install/)]);
    expect(user.entries()).toEqual([]);
    const doctor = await user.ktx(['runtime', 'doctor']);
    expect(doctor.code).toBe(1);
    expect(doctor.stdout).toMatch(/^FAIL Bundled Python wheel: .*\n {2}Fix: .*npm install/m);
    for (const path of [manifestPath, wheelPath, lockPath]) {
      rmSync(path, { recursive: true, force: true });
      copyFileSync(join(ASSET_DIR, basename(path)), path);
    }
    await user.install();
    await user.expectRuns();
  });
});

test('every way to cut the manifest short is refused, and none is a crash', async () => {
  const { verifyRuntimeAsset } = await import('./support/user.js').then(
    ({ ktxModule }) => ktxModule,
  );
  const whole = readFileSync(join(ASSET_DIR, 'manifest.json'));
  const assetDir = join(manifestPath, '..');
  for (let length = 0; length < whole.toString().trimEnd().length; length += 1) {
    writeFileSync(manifestPath, whole.subarray(0, length));
    await expect(verifyRuntimeAsset({ assetDir }), `${length} bytes`).rejects.toMatchObject({
      code: 'KTX_ASSET_MANIFEST',
    });
  }
});

test('a wheel that is swapped after it was verified is not what is installed', async () => {
  const user = new User({ project });
  const swap = `head -c ${MANIFEST.wheel.bytes} /dev/zero > '${wheelPath}'; : > '${lockPath}'`;
  await user.install([], { env: { KTX_UV: uvThatBefore('venv', swap) } });
  await user.expectRuns();
});
