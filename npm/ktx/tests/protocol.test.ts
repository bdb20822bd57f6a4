// What is generated from the protocol's description, which other parts of the project read as well.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

it('is what the description says', async () => {
  const root = join(import.meta.dirname, '..');
  // It runs at build time, so it is JavaScript.
  const { generate } = (await import(join(root, 'protocol.mjs'))) as {
    generate: () => Record<string, string>;
  };
  for (const [path, text] of Object.entries(generate())) {
    expect(readFileSync(join(root, path), 'utf8'), `${path}; write it with: npm run protocol`).toBe(text);
  }
});
