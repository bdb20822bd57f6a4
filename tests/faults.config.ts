// Fault rows: each does something bad to ktx many times over, and says what it saw.
import { defineConfig } from 'vitest/config';
import base from './vitest.config.js';

// For one row; what waits for ever is to fail before whoever waits for the tests gives up.
const minutes = process.env['KTX_FAULTS'] === 'full' ? 45 : 5;

export default defineConfig({
  ...base,
  test: { ...base.test, include: ['faults/**/*.faults.ts'], testTimeout: minutes * 60_000 },
});
