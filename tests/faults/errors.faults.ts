// Failure of every system call that changes something, in every way that a disk or a system has.
import { expect } from 'vitest';
import { amount, fault, isFull } from '../support/rows.js';
import { type Kind, missingStrike, runStruck } from '../support/strike.js';
import { STRUCK, type Struck, Victim } from '../support/struck.js';

const KINDS: Kind[] = ['write', 'rename', 'fsync', 'open', 'mkdir', 'unlink', 'flock'];

/** What the message has to say, beside a path. */
const ERRORS: [error: string, words: RegExp][] = [
  ['ENOSPC', /No space left on device|disk space/],
  ['EIO', /Input\/output error/],
  ['EDQUOT', /quota/i],
  ['EACCES', /Permission denied/],
  ['EROFS', /Read-only file system/],
  ['EMFILE', /Too many open files/],
  ['ENOLCK', /No locks available/],
  ['EINTR', /Interrupted system call/],
];

interface Tally {
  strikes: number;
  survived: number;
  refused: number;
}

/** Lets each call of one kind fail with one error, or every `step`th. */
async function failCalls(
  victim: Victim,
  { kind, error, words, step }: { kind: Kind; error: string; words: RegExp; step: number },
  tally: Tally,
): Promise<void> {
  for (let at = 1; ; at += step) {
    const note = `${error} from ${kind} ${at}`;
    const { done, call } = await victim.strike(note, (user, args) =>
      runStruck(user, args, { at, kind, error }),
    );
    if (call === undefined) break;
    tally.strikes += 1;
    expect.soft(done.stderr, note).not.toMatch(/panic|^ +at /m);
    if (done.code === 0) {
      tally.survived += 1;
      continue;
    }
    const told = `${note} on ${call}`;
    expect.soft(done, told).toMatchObject({ code: 1, signal: null, stdout: '' });
    expect.soft(done.stderr, told).toMatch(words);
    expect.soft(done.stderr, told).toContain(victim.user.root);
    tally.refused += 1;
  }
}

function sweep(struck: Struck): void {
  fault(
    {
      area: struck.area,
      name: `${struck.name}-with-failing-calls`,
      fault: `one system call of ${struck.words} fails: ${ERRORS.map(([error]) => error).join(', ')}`,
      required:
        'no panic, no false success, a message that names path and cause; what worked works, the next installation heals',
      missing: missingStrike,
    },
    async () => {
      const victim = await Victim.of(struck);
      const tally = { strikes: 0, survived: 0, refused: 0 };
      for (const [index, kind] of KINDS.entries()) {
        for (const [error, words] of isFull ? ERRORS : [ERRORS[index % ERRORS.length]!]) {
          await failCalls(victim, { kind, error, words, step: amount(40, 1) }, tally);
        }
      }
      await victim.close();
      return {
        times: tally.strikes,
        seen: `${tally.refused} refused with path and cause, ${tally.survived} done in spite of it`,
      };
    },
  );
}

for (const struck of STRUCK) sweep(struck);
