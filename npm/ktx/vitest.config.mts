// Gives the tests of single modules what the build writes into the bundle.
import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

const read = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
const { version } = read('package.json');
const policy = read('../../release/policy.json');

export default defineConfig({
  define: {
    KTX_PACKAGE_NAME: JSON.stringify(`${policy.scope}/${policy.package}`),
    KTX_PACKAGE_VERSION: JSON.stringify(version),
    KTX_PARSED: '{ "runtime": {}, "exec": {} }',
  },
  test: {
    include: ['tests/**/*.test.ts'],
    testTimeout: 30_000,
  },
});
