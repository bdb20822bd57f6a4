// Gives the tests of single modules what the build writes into the bundle.
import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

const { name, version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));

export default defineConfig({
  define: {
    KTX_PACKAGE_NAME: JSON.stringify(name),
    KTX_PACKAGE_VERSION: JSON.stringify(version),
    KTX_PARSED: '{ "runtime": {}, "exec": {} }',
  },
  test: {
    include: ['tests/**/*.test.ts'],
    testTimeout: 30_000,
  },
});
