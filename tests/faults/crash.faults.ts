// Death at every system call that changes something, and at any moment.
import { expect } from 'vitest';
import { amount, fault, isFull } from '../support/rows.js';
import { missingStrike, runStruck } from '../support/strike.js';
import { STRUCK, type Struck, Victim } from '../support/struck.js';

const REQUIRED =
  'status tells the truth, what worked works, one installation heals, nothing else is touched';

/** Kills the command before each of its calls, or before about `most` of them. */
async function killAtCalls(struck: Struck, most: number): Promise<{ kills: number; calls: number }> {
  const victim = await Victim.of(struck);
  const whole = await victim.strike('undisturbed', (user, args) =>
    runStruck(user, args, { at: Number.MAX_SAFE_INTEGER }),
  );
  expect(whole.done.code).toBe(0);
  let kills = 0;
  let calls = 0;
  const step = Math.max(1, Math.ceil(whole.calls / most));
  for (let at = 1; ; at += step) {
    const { done, call } = await victim.strike(`killed at call ${at}`, (user, args) =>
      runStruck(user, args, { at }),
    );
    if (call === undefined) {
      // There are no more calls: it ran to its end.
      expect(done).toMatchObject({ code: 0 });
      break;
    }
    expect(done).toMatchObject({ code: 137 });
    kills += 1;
    calls = at;
  }
  await victim.close();
  return { kills, calls };
}

for (const struck of STRUCK) {
  fault(
    {
      area: struck.area,
      name: `${struck.name}-killed-at-each-call`,
      fault: `${struck.words} is killed at each system call that changes something`,
      required: REQUIRED,
      missing: missingStrike,
    },
    async () => {
      const { kills, calls } = await killAtCalls(struck, amount(8, Infinity));
      return { times: kills, seen: isFull ? `all ${calls} calls` : `${kills} of ${calls} calls` };
    },
  );
}
