// Fault rows: each does something bad to ktx many times over, and says what it saw.
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import base from './vitest.config.js';

// For one row; what waits for ever is to fail before whoever waits for the tests gives up.
const minutes = process.env['KTX_FAULTS'] === 'full' ? 45 : 5;

/** What takes by far the longest goes first, or the others would have ended when it begins. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLongest = ({ moduleId }: TestSpecification): boolean => moduleId.includes('/errors.');
    const others = await super.sort(files.filter((file) => !isLongest(file)));
    return [...files.filter(isLongest), ...others];
  }
}

export default defineConfig({
  ...base,
  test: {
    ...base.test,
    include: ['faults/**/*.faults.ts'],
    testTimeout: minutes * 60_000,
    sequence: { sequencer: LongestFirst },
  },
});
