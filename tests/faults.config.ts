// Fault rows: each does something bad to ktx many times over, and says what it saw.
import { mergeConfig } from 'vitest/config';
import base from './vitest.config.js';

const config = mergeConfig(base, {});
config.test = { ...config.test, include: ['faults/**/*.faults.ts'], testTimeout: 45 * 60_000 };
export default config;
