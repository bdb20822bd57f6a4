// The bundle for a package of another name: nothing of this one's is left, and what it requires are
// literal strings.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PLATFORMS } from '../src/addon.js';
import { DIST, ktx, temporaryDirectory } from './support.js';

const NAME = '@acme/tools-ktx';

it('is made for the name that it is given', { timeout: 60_000 }, async () => {
  const { bundle } = await import(/* @vite-ignore */ join(import.meta.dirname, '..', 'bundle.mjs'));
  const dist = join(temporaryDirectory(), 'dist');
  await bundle({ name: NAME, version: '1.2.3', dist });

  const index = readFileSync(join(dist, 'index.cjs'), 'utf8');
  const required = [...index.matchAll(/\brequire\("(@[^"]+)"\)/g)].map(([, name]) => name);
  expect(required).toEqual(PLATFORMS.map((platform) => `${NAME}-${platform}`));

  const files = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.cjs'),
  );
  expect(files.length).toBeGreaterThan(5);
  const others = files.filter((file) =>
    readFileSync(join(dist, file), 'utf8').includes(KTX_PACKAGE_NAME),
  );
  expect(others).toEqual([]);

  const { code, stdout, stderr } = await ktx(['runtime', 'status'], { cli: join(dist, 'cli.cjs') });
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/^Cannot find the package @acme\/tools-ktx-/);
  expect(stderr).toContain(`Fix: Run: npm install --include=optional ${NAME}@1.2.3\n`);
});

it('of this checkout has the name of the release policy', () => {
  const index = readFileSync(join(DIST, 'index.cjs'), 'utf8');
  expect(index).toContain(`require("${KTX_PACKAGE_NAME}-linux-x64-gnu")`);
});
