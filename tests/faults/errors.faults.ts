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

/** Lets each call of one kind fail with all of the errors, or some calls with one of them in turn. */
async function failCalls(
  victim: Victim,
  kind: Kind,
  { inTurn, step }: { inTurn: boolean; step: number },
  tally: Tally,
): Promise<void> {
  for (let at = 1; ; at += step) {
    const turn = (at + KINDS.indexOf(kind)) % ERRORS.length;
    for (const [error, words] of inTurn ? ERRORS.slice(turn, turn + 1) : ERRORS) {
      const note = `${error} from ${kind} ${at}`;
      const { done, call } = await victim.strike(note, (user, args) =>
        runStruck(user, args, { at, kind, error }),
      );
      // There are no more calls.
      if (call === undefined) return;
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
}

function sweep(struck: Struck): void {
  // What it does is done by a first installation and by a prune too, hundreds of calls.
  const inTurn = !isFull || struck.name === 'reinstall';
  const errors = ERRORS.map(([error]) => error).join(', ');
  fault(
    {
      area: struck.area,
      name: `${struck.name}-with-failing-calls`,
      fault: `one system call of ${struck.words} fails: ${errors}${inTurn ? ', in turn' : ''}`,
      required:
        'no panic, no false success, a message that names path and cause; what worked works, the next installation heals',
      missing: missingStrike,
    },
    async () => {
      const victim = await Victim.of(struck);
      const tally = { strikes: 0, survived: 0, refused: 0 };
      for (const kind of KINDS) await failCalls(victim, kind, { inTurn, step: amount(40, 1) }, tally);
      await victim.close();
      return {
        times: tally.strikes,
        seen: `${tally.refused} refused with path and cause, ${tally.survived} done in spite of it`,
      };
    },
  );
}

for (const struck of STRUCK) sweep(struck);
