// Many at once, on one root: half of them reach it by a symbolic link.
import { cpSync, existsSync, readFileSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { DaemonUser, type Started } from '../support/daemons.js';
import { uvThatNotesOverlaps } from '../support/fakes.js';
import { type Finished, eventually, processesMarked, run } from '../support/processes.js';
import { type Fault, amount, fault } from '../support/rows.js';
import { PACKAGE, type User, suite, temporaryDirectory } from '../support/user.js';

const OTHER = '0.0.1-other.1';
const PROGRAM = `
  const { installManagedPythonRuntime } = require('${PACKAGE}');
  const options = { cliVersion: '${OTHER}', features: ['core'] };
  installManagedPythonRuntime(options).then(({ status }) => console.log(status));`;

type Act = (user: User) => Promise<Finished>;
const typing =
  (...args: string[]): Act =>
  async (user) =>
    await user.ktx(args);
const install = typing('runtime', 'install', '--yes');
const force = typing('runtime', 'install', '--yes', '--force');
const prune = typing('runtime', 'prune', '--yes');
const begin = typing('runtime', 'start', '--json');
const installOther: Act = async ({ env }) =>
  await run(join(suite.path, 'node'), ['-e', PROGRAM], { env, cwd: suite.project });

/** One root with two paths, and a uv that notes who works there. */
class Crowd {
  readonly home = temporaryDirectory('crowd-');
  readonly #notes = temporaryDirectory('notes-');
  readonly users: [DaemonUser, DaemonUser];
  /** How often it was seen that what is ready runs. */
  looks = 0;

  constructor() {
    const { home } = this;
    const [root, link] = [join(home, 'root'), join(home, 'link')];
    const env = { KTX_UV: uvThatNotesOverlaps(this.#notes) };
    this.users = [
      new DaemonUser({ home, root, env }),
      new DaemonUser({ home, root: link, env, seeded: false }),
    ];
    symlinkSync(root, link);
  }

  /** How many lines uv wrote. */
  noted(name: 'begun' | 'overlaps'): number {
    const path = join(this.#notes, name);
    return existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n').length : 0;
  }

  versions(): string[] {
    return readdirSync(this.users[0].root).filter((name) => /^\d/.test(name));
  }

  /** All at once, by one path and by the other; gives what each said. */
  async all(acts: Act[]): Promise<string[]> {
    let isOver = false;
    const work = Promise.all(
      acts.map(async (act, index) => await act(this.users[index % 4 < 2 ? 0 : 1])),
    ).finally(() => {
      isOver = true;
    });
    const watch = async (): Promise<void> => {
      while (!isOver) await this.look();
    };
    const [done] = await Promise.all([work, watch()]);
    expect(done.filter(({ code, stderr }) => code !== 0 || stderr !== '')).toEqual([]);
    return done.map(({ stdout }) => stdout);
  }

  /** What is ready runs, and goes on to run while it is replaced. */
  async look(): Promise<void> {
    const [user, linked] = this.users;
    if ((await linked.status()).kind !== 'ready') return;
    await user.expectRuns();
    this.looks += 1;
  }

  /** Nothing is left of the work but its result, with which a plain installation is content. */
  async expectSettled(): Promise<void> {
    expect(this.noted('overlaps')).toBe(0);
    expect(readdirSync(this.home).toSorted()).toEqual(['link', 'root', 'root.lock']);
    await eventually('all to end', () => processesMarked(this.home).size === 0);
    const settled = [expect.stringMatching(/^\.venv/), 'install.log', 'manifest.json'];
    for (const version of this.versions()) {
      const left = readdirSync(join(this.users[0].root, version));
      // Code ran in an environment that was replaced: the next installation removes it.
      expect(left.filter((name) => !name.startsWith('.venv')).toSorted()).toEqual(settled.slice(1));
      expect(left.filter((name) => name.startsWith('.venv'))).not.toEqual([]);
    }
    for (const user of this.users) {
      expect(await user.install()).toMatch(/^Using existing/);
      await user.expectRuns();
    }
    const [user] = this.users;
    if (user.entries().length > settled.length) await user.install(['--force']);
    expect(user.entries()).toEqual(settled);
  }
}

interface Contest extends Omit<Fault, 'fault'> {
  /** What is done at once, in words and in deeds. */
  what: string;
  acts: Act[];
  rounds: [quick: number, full: number];
  /** What each round finds; an empty root by default. */
  given?: (crowd: Crowd) => void | Promise<void>;
  /** What came of a round. */
  came: (crowd: Crowd, said: string[]) => void | Promise<void>;
}

function contest({ what, acts, rounds, given, came, ...row }: Contest): void {
  fault({ ...row, fault: `${acts.length} at once: ${what}` }, async () => {
    const total = amount(...rounds);
    const seen = { exits: 0, built: 0, overlaps: 0, looks: 0 };
    let crowd: Crowd | undefined;
    for (let round = 0; round < total; round += 1) {
      if (crowd === undefined || given === undefined) crowd = new Crowd();
      await given?.(crowd);
      const before = crowd.noted('begun');
      const said = await crowd.all(acts);
      seen.built += crowd.noted('begun') - before;
      await came(crowd, said);
      await crowd.expectSettled();
      seen.exits += said.length;
      seen.overlaps += crowd.noted('overlaps');
      seen.looks += crowd.looks;
      crowd.looks = 0;
    }
    const { exits, built, overlaps, looks } = seen;
    return {
      times: exits,
      seen: `${exits} exits 0 in ${total} rounds, ${built} environments built, ${overlaps} overlaps; what was ready ran ${looks} of ${looks} times meanwhile`,
    };
  });
}

const many = (count: number, ...acts: Act[]): Act[] =>
  Array.from({ length: count }, (_, index) => acts[index % acts.length] ?? install);

const saying = (said: string[], text: string): number =>
  said.filter((one) => one.includes(text)).length;

const STALE = ['0.0.1', '0.0.2', '0.0.3'];

/** A runtime that is ready, and versions that nobody wants any more. */
async function givenStale({ users: [user] }: Crowd): Promise<void> {
  await user.install();
  for (const version of STALE) {
    cpSync(user.versionDir, join(user.root, version), { recursive: true, verbatimSymlinks: true });
  }
}

contest({
  area: 'install',
  name: 'install-cold-by-many',
  what: 'cold installations of one version',
  required: 'one installs, the others wait, all exit 0',
  acts: many(32, install),
  rounds: [1, 20],
  came: (crowd, said) => {
    expect(crowd.noted('begun')).toBe(1);
    expect(saying(said, 'Installed ')).toBe(1);
  },
});

contest({
  area: 'install',
  name: 'install-forced-by-many',
  what: 'forced installations over one that works',
  required: 'one after the other, all exit 0, one environment is left',
  acts: many(8, force),
  rounds: [1, 4],
  given: async ({ users: [user] }) => void (await user.install()),
  came: (_, said) => expect(saying(said, 'Installed ')).toBe(8),
});

contest({
  area: 'install',
  name: 'install-of-two-versions',
  what: 'cold installations of two versions',
  required: 'both are ready, each was built once',
  acts: many(16, install, installOther),
  rounds: [1, 4],
  came: (crowd) => {
    expect(crowd.noted('begun')).toBe(2);
    expect(crowd.versions()).toHaveLength(2);
  },
});

contest({
  area: 'prune',
  name: 'prune-against-install',
  what: 'prunes, installations of the current version and of one that is pruned',
  required: 'all exit 0, the current version is ready, the other is whole or gone',
  acts: many(18, prune, installOther, force),
  rounds: [1, 4],
  given: givenStale,
  came: async (crowd, said) => {
    expect(saying(said, 'Installed ')).toBe(6);
    for (const version of STALE) expect(crowd.versions()).not.toContain(version);
    const wanted = crowd.versions().includes(OTHER) ? 'ready' : 'installed';
    expect(await crowd.all([installOther])).toEqual([`${wanted}\n`]);
  },
});

contest({
  area: 'prune',
  name: 'prune-by-many',
  what: 'prunes',
  required: 'all exit 0, each version is removed by exactly one',
  acts: many(16, prune),
  rounds: [1, 8],
  given: givenStale,
  came: (crowd, said) => {
    for (const version of STALE) expect(saying(said, `/${version}\n`)).toBe(1);
    expect(crowd.versions()).toHaveLength(1);
  },
});

contest({
  area: 'daemon',
  name: 'start-by-many',
  what: 'starts',
  required: 'one daemon, all exit 0 with its pid, nothing is left after stop',
  acts: many(64, begin),
  rounds: [1, 20],
  given: async ({ users: [user] }) => void (await user.install()),
  came: async ({ users }, said) => {
    const all = said.map((one) => JSON.parse(one) as Started);
    expect(new Set(all.map(({ pid }) => pid)).size).toBe(1);
    expect(all.filter(({ status }) => status === 'started')).toHaveLength(1);
    for (const user of users) {
      const found = (await user.status()) as unknown as Record<string, unknown>;
      expect(found['daemon']).toMatchObject({ kind: 'running', state: { pid: all[0]?.pid } });
    }
    expect(saying([await users[1].stopAll()], 'Stopped')).toBe(1);
  },
});
