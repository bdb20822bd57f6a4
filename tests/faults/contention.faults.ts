// Many at once, on one root.
import { readdirSync } from 'node:fs';
import { expect } from 'vitest';
import { amount, fault } from '../support/rows.js';
import { User } from '../support/user.js';

const PROCESSES = 32;

fault(
  {
    area: 'install',
    name: 'install-cold-by-many',
    fault: `${PROCESSES} cold installations of one version at once`,
    required: 'one installs, the others wait, all exit 0',
  },
  async () => {
    const rounds = amount(1, 20);
    for (let round = 0; round < rounds; round += 1) {
      const user = new User();
      const done = await Promise.all(
        Array.from({ length: PROCESSES }, () => user.ktx(['runtime', 'install', '--yes'])),
      );
      expect(done.filter(({ code }) => code !== 0)).toEqual([]);
      const installed = done.filter(({ stdout }) => stdout.startsWith('Installed'));
      expect(installed).toHaveLength(1);
      expect(readdirSync(user.versionDir).toSorted()).toEqual([
        '.venv',
        'install.log',
        'manifest.json',
      ]);
      await user.expectRuns();
    }
    const times = rounds * PROCESSES;
    return { times, seen: `${times} exits 0, ${rounds} installations in ${rounds} rounds` };
  },
);
