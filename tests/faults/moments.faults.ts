// Death of the whole process tree, at any moment.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { amount, fault } from '../support/rows.js';
import { STRUCK, Victim } from '../support/struck.js';

const MOMENTS = amount(12, 500);

fault(
  {
    area: 'install',
    name: 'killed-at-any-moment',
    fault: 'uv, Python and ktx are killed together at a random moment of what they do',
    required:
      'status tells the truth, what worked works, one installation heals, nothing else is touched',
  },
  async () => {
    let kills = 0;
    let late = 0;
    for (const [index, struck] of STRUCK.entries()) {
      const victim = await Victim.of(struck);
      const took = await victim.strike('undisturbed', async (user, args) => {
        const begun = performance.now();
        expect(await user.ktx(args)).toMatchObject({ code: 0 });
        return performance.now() - begun;
      });
      while (kills < (MOMENTS * (index + 1)) / STRUCK.length) {
        const after = Math.random() * took * 1.1;
        await victim.strike(`${struck.name} killed after ${after} ms`, async (user, args) => {
          const running = user.start(args);
          await Promise.race([sleep(after), running.finished]);
          if (user.processes().size > 0) kills += 1;
          else late += 1;
          user.killProcesses();
          await running.finished;
        });
      }
      await victim.close();
    }
    return { times: kills, seen: `${kills} kills met something alive, ${late} came too late` };
  },
);
