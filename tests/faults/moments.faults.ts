// Death of the whole process tree, at any moment.
import { setTimeout as sleep } from 'node:timers/promises';
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
    for (const struck of STRUCK) {
      const victim = await Victim.of(struck);
      // How long it takes is taken from the runs that were not cut short.
      let took = 0;
      for (let moment = 0; moment < MOMENTS / STRUCK.length; moment += 1) {
        const after = Math.random() * took * 1.1;
        await victim.strike(`${struck.name} killed after ${after} ms`, async (user, args) => {
          const begun = performance.now();
          const running = user.start(args);
          if (took === 0) await running.finished;
          else await Promise.race([sleep(after), running.finished]);
          if (took === 0) took = performance.now() - begun;
          const left = user.processes().size;
          user.killProcesses();
          await running.finished;
          if (left > 0) kills += 1;
          else late += 1;
        });
      }
      await victim.close();
    }
    return { times: kills, seen: `${kills} kills met something alive, ${late} came too late` };
  },
);
