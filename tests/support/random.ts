// Choices that look random and that a seed fixes, so that what shows something can be done again.
import { randomInt } from 'node:crypto';

/** What this run's choices follow from; messages name it. */
export const seed = Number(process.env['KTX_FAULTS_SEED'] ?? randomInt(2 ** 31));

/** Gives a whole number from 0 up to, and without, `below`. */
export type Random = (below: number) => number;

/** Numbers that look random and that `start` fixes (mulberry32). */
export function generator(start: number): Random {
  let state = start;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** One of several. */
export function pick<T>(choices: readonly T[], random: Random): T {
  return choices[random(choices.length)] as T;
}
