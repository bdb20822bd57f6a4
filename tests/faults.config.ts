// Fault rows: each does something bad to ktx many times over, and says what it saw.
import { defineConfig } from 'vitest/config';
import base from './vitest.config.js';

export default defineConfig({
  ...base,
  test: { ...base.test, include: ['faults/**/*.faults.ts'], testTimeout: 45 * 60_000 },
});
