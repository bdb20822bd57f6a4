// File systems, homes, owners, masks, limits and clocks that an installation does not expect.
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { uvThatBefore } from '../support/fakes.js';
import { type Neighbour, expectHeals, neighbour } from '../support/invariants.js';
import { generator, seed } from '../support/random.js';
import { amount, fault, isFull } from '../support/rows.js';
import { asUser, hoursAhead, missing, remounted, withMounts, within } from '../support/system.js';
import { eachOf, keptUv, suite, temporaryDirectory } from '../support/user.js';

const uv = keptUv(suite.seed);
const STRANGER = 54_321;

fault(
  {
    area: 'install',
    name: 'full-at-any-moment',
    fault: 'the disk, or its list of files, is full after every amount of writing',
    required: 'says so; what worked works on; with room again, one installation heals',
    missing: missing.mount,
  },
  async () => {
    const random = generator(seed);
    const kinds = [
      // Rooms in KiB up to what an installation takes, and in files.
      {
        size: 'size=140m',
        fill: 'dd if=/dev/zero of=filler/1 bs=64k; truncate -s -${left}K filler/1',
        most: 24_000,
      },
      {
        size: 'size=140m,nr_inodes=1000',
        fill: 'seq -f filler/%g 2000 | xargs touch; seq -f filler/%g $left | xargs rm -f',
        most: 200,
      },
    ];
    const cases = kinds.flatMap((kind) =>
      Array.from({ length: amount(3, 25) }, (_, index) => ({
        ...kind,
        left: index === 0 ? 0 : random(kind.most),
      })),
    );
    let full = 0;
    await eachOf(cases, async ({ size, fill, left }) => {
      const { user, expectUntouched } = neighbour({ seeded: false, env: { KTX_UV: uv } });
      mkdirSync(user.root);
      const filling = `left=${left}; cd '${user.root}'; mkdir filler; { ${fill}; } 2>/dev/null`;
      const through = withMounts(`mount -t tmpfs -o ${size},mode=700 tmpfs '${user.root}'`).concat(
        '/bin/sh',
        '-c',
        `PATH=$PATH:/usr/bin:/bin; node=$1 bin=$2; cd '${user.root}'
        ktx() { "$node" "$bin" "$@"; }
        ktx runtime install --yes >/dev/null || exit 90
        export KTX_UV='${uvThatBefore('venv', filling)}'
        said=$(ktx runtime install --force --yes 2>&1); code=$?
        export KTX_UV='${uv}'
        ktx runtime status --json | grep -o '"kind": *"[a-z]*"' | head -n 1; ktx exec -c 'print(6*7)'
        rm -rf filler
        ktx runtime install --yes | head -n 1; ktx exec -c 'print(6*7)'
        ktx runtime install --force --yes | head -n 1; ls -A ${suite.version}
        echo "$code $said"`,
        'sh',
      );
      const done = await user.ktx([], { through });
      const label = `seed ${seed}, ${left} left of ${size}`;
      expect(done, label).toMatchObject({ code: 0, stderr: '' });
      const lines = done.stdout.split('\n');
      const [status, ran, again, runs, anew, ...rest] = lines;
      expect([status, ran, again, runs, anew], label).toEqual([
        expect.stringContaining('"ready"'),
        '42',
        'Using existing KTX Python runtime',
        '42',
        'Installed KTX Python runtime',
      ]);
      expect(rest.slice(0, 3).join(' '), label).toMatch(/^\.venv\S* install\.log manifest\.json$/);
      const said = rest.slice(3).join('\n');
      expect(said, label).toMatch(/^0 Installed|^1 Not enough (?:disk space|inodes) for/);
      full += Number(said.startsWith('1'));
      expectUntouched();
    });
    expect(full).toBeGreaterThan(cases.length / 4);
    return {
      times: cases.length,
      seen: `${full} of ${cases.length} installations ran out of room, each said so and left what worked`,
    };
  },
);

fault(
  {
    area: 'install',
    name: 'places-that-refuse',
    fault:
      'the root, the cache, the kept uv, the version or TMPDIR is read-only or runs no programs',
    required: 'works where it can; else names the place, and what worked works on',
    missing: missing.mount,
  },
  async () => {
    const places = {
      root: '',
      cache: 'cache',
      uv: 'uv',
      version: suite.version,
      temporary: '../tmp',
    };
    // Nothing is written to a temporary directory, and to a kept uv only what is not needed.
    const works = ['noexec cache', 'ro uv', 'ro temporary', 'noexec temporary'];
    const cases = Object.entries(places)
      .flatMap(([name, path]) => ['ro', 'noexec'].map((options) => ({ name, path, options })))
      .filter((_, index) => isFull || index % 4 === 0);
    let refused = 0;
    await eachOf(cases, async ({ name, path, options }) => {
      const { user, expectUntouched } = neighbour();
      await user.install();
      const directory = name === 'temporary' ? join(user.home, 'tmp') : join(user.root, path);
      const through = remounted(directory, options);
      const done = await user.ktx(['runtime', 'install', '--force', '--yes'], { through });
      const label = `${options} ${name}: ${done.stderr}`;
      if (works.includes(`${options} ${name}`)) {
        expect(done, label).toMatchObject({ code: 0, stderr: '' });
      } else {
        expect(done, label).toMatchObject({ code: 1, stdout: '' });
        expect(done.stderr, label).toContain(user.root);
        expect(done.stderr, label).toMatch(/^Fix: /m);
        refused += 1;
      }
      const ran = await user.ktx(['exec', '-c', 'print(6*7)'], { through });
      // Code needs a directory of its own, and a program that may be run.
      if (ran.code === 0) expect(ran.stdout, label).toBe('42\n');
      else
        expect(`${name} ${ran.stderr}`, label).toContain(
          name === 'temporary' ? directory : user.root,
        );
      await user.expectRuns();
      expectUntouched();
      await expectHeals(user);
    });
    return {
      times: cases.length,
      seen: `${refused} of ${cases.length} refused with the place named, the others installed`,
    };
  },
);

/** What belongs to the stranger, who has uv's cache but no uv of ktx's. */
function stranger(env: Record<string, string> = {}): Neighbour {
  const place = neighbour({ seeded: false, env: { KTX_UV: uv, ...env } });
  mkdirSync(place.user.root, { mode: 0o700 });
  cpSync(join(suite.seed, 'cache'), join(place.user.root, 'cache'), { recursive: true });
  give(place.user.home, dirname(place.user.root));
  return place;
}

function give(...paths: string[]): void {
  execFileSync('chown', ['-hR', `${STRANGER}:${STRANGER}`, ...paths]);
}

fault(
  {
    area: 'install',
    name: 'homes-of-all-kinds',
    fault:
      'HOME is unset, empty, relative, missing, a file, a dangling link, closed or of somebody else',
    required: 'installing fails and says what to set, nothing claims to be ready, nothing is made',
    missing: missing.setpriv,
  },
  async () => {
    const place = temporaryDirectory('homes-');
    chmodSync(place, 0o755);
    const path = (name: string) => join(place, name);
    writeFileSync(path('file'), 'mine');
    symlinkSync(path('nowhere'), path('dangling'));
    mkdirSync(path('theirs'), { mode: 0o755 });
    mkdirSync(path('closed'), { mode: 0 });
    execFileSync('chown', [`${STRANGER}`, path('closed')]);
    const homes = [
      undefined,
      '',
      'relative',
      '/nonexistent',
      '/dev/null',
      '/proc',
      '\n',
      ...['missing/below', 'file', 'file/below', 'dangling', 'theirs', 'closed'].map(path),
    ];
    const commands = [
      ['runtime', 'install', '--yes'],
      ['runtime', 'status'],
      ['runtime', 'doctor'],
      ['runtime', 'prune', '--yes'],
      ['runtime', 'start'],
      ['exec', '--yes', '-c', '1'],
    ].slice(0, amount(2, 6));
    const before = execFileSync('find', [place, '-printf', '%p %m %U %s\\n']);
    const { user, expectUntouched } = stranger();
    const cases = homes.flatMap((HOME) => commands.map((command) => ({ HOME, command })));
    let refused = 0;
    await eachOf(cases, async ({ HOME, command }) => {
      const env = { HOME, KTX_RUNTIME_ROOT: undefined };
      const done = await user.ktx(command, { env, cwd: place, through: asUser(STRANGER) });
      const label = `HOME=${HOME} ${command.join(' ')}: ${done.stderr}${done.stdout}`;
      if (command.includes('install')) {
        expect(done, label).toMatchObject({ code: 1, stdout: '' });
        expect(done.stderr, label).toMatch(/^Fix: .*(?:KTX_RUNTIME_ROOT=|HOME)/m);
        refused += 1;
      }
      expect([0, 1], label).toContain(done.code);
      expect(done.stdout, label).not.toMatch(/\bready\b/);
    });
    expect(execFileSync('find', [place, '-printf', '%p %m %U %s\\n'])).toEqual(before);
    await user.install([], { through: asUser(STRANGER) });
    await user.expectRuns({ through: asUser(STRANGER) });
    expectUntouched();
    return {
      times: cases.length,
      seen: `${homes.length} homes, ${commands.length} commands: ${refused} installations refused, nothing made`,
    };
  },
);

fault(
  {
    area: 'install',
    name: 'other-users',
    fault: 'the root belongs to another user, whole or in part, and the other way round',
    required: 'refused with the owner named; nothing written; what is installed runs where it may',
    missing: missing.setpriv,
  },
  async () => {
    const through = asUser(STRANGER);
    const parts = ['', 'cache', suite.version, 'uv'].slice(0, amount(2, 4));
    let refused = 0;
    for (const part of parts) {
      const mine = neighbour();
      give(join(mine.user.root, part === 'uv' || part === 'cache' ? part : ''));
      mkdirSync(mine.user.versionDir, { recursive: true });
      if (part === suite.version) {
        execFileSync('chown', ['-R', '0:0', mine.user.root]);
        give(mine.user.versionDir);
      }
      const said = await mine.user.failingInstall();
      expect(said).toContain(join(mine.user.root, part));
      expect(said).toContain(`uid ${STRANGER}`);
      refused += 1;
      execFileSync('chown', ['-R', '0:0', mine.user.root]);
      mine.expectUntouched();
      await expectHeals(mine.user);
    }
    // What root installed, somebody else may use and not change. (The kept uv is also other roots',
    // so the time of its last change says nothing.)
    const { user, expectUntouched } = neighbour();
    await user.install();
    const before = execFileSync('find', [user.root, '-printf', '%p %m %U %s %T@\\n']);
    expect(await user.status({ through })).toMatchObject({ kind: 'ready' });
    const forced = await user.ktx(['runtime', 'install', '--force', '--yes'], { through });
    expect(forced).toMatchObject({ code: 1, stdout: '' });
    expect(forced.stderr).toContain('belongs to another user (uid 0)');
    const pruned = await user.ktx(['runtime', 'prune', '--yes'], { through });
    expect([0, 1]).toContain(pruned.code);
    expect(execFileSync('find', [user.root, '-printf', '%p %m %U %s %T@\\n'])).toEqual(before);
    expectUntouched();
    await expectHeals(user);
    return {
      times: parts.length + 3,
      seen: `${refused + 1} installations refused with the owner named, 0 files changed`,
    };
  },
);

fault(
  {
    area: 'install',
    name: 'umasks',
    fault: 'umask 000, 077, 0177, 0777, as root and as somebody else',
    required: 'works, or fails and heals; nobody else may write, whatever the mask',
    missing: missing.setpriv,
  },
  async () => {
    const cases = [[], asUser(STRANGER)].flatMap((who) =>
      (isFull ? ['000', '027', '077', '0177', '0777'] : ['000', '0777']).map((mask) => ({
        who,
        mask,
      })),
    );
    let worked = 0;
    await eachOf(cases, async ({ who, mask }) => {
      const { user } = who.length === 0 ? neighbour() : stranger();
      const masked = [...who, '/bin/sh', '-c', `umask ${mask}; exec "$@"`, 'sh'];
      const done = await user.ktx(['runtime', 'install', '--yes'], { through: masked });
      const label = `umask ${mask} ${who.length}: ${done.stderr}`;
      expect([0, 1], label).toContain(done.code);
      if (done.code === 1) expect(done.stderr, label).toMatch(/^Fix: /m);
      worked += Number(done.code === 0);
      const { kind } = await user.status({ through: masked });
      expect(kind === 'ready', label).toBe(done.code === 0);
      if (kind === 'ready') await user.expectRuns({ through: masked });
      for (const path of [user.root, `${user.root}.lock`, user.versionDir]) {
        expect(statSync(path).mode & 0o007, `${label} ${path}`).toBe(0);
      }
      await user.install([], { through: who });
      await user.expectRuns({ through: who });
      await user.install(['--force'], { through: who });
      await user.expectRuns({ through: who });
    });
    return {
      times: cases.length,
      seen: `${worked} of ${cases.length} installed, the others failed and healed`,
    };
  },
);

fault(
  {
    area: 'install',
    name: 'resource-limits',
    fault: 'few descriptors, processes, bytes per file, addresses or stack',
    required:
      'works, or says what failed; what worked works on; without the limit, one installation heals',
    missing: missing.setpriv,
  },
  async () => {
    // Descriptors; blocks of 512 bytes; processes; KiB of addresses and of stack; seconds.
    const amounts = {
      n: [64, 16, 24, 32, 256],
      f: [4096, 0, 1, 64, 20_000],
      p: [16, 1, 8, 64, 256],
      v: [1_500_000, 500_000, 4_000_000],
      s: [256, 64],
      t: [1],
    };
    const limits = Object.entries(amounts).flatMap(([name, values]) =>
      values.slice(0, amount(1, values.length)).map((value) => `-${name} ${value}`),
    );
    const outcomes = { worked: 0, said: 0, 'node ended': 0 };
    await eachOf(limits, async (limit) => {
      const { user, expectUntouched } = stranger();
      await user.install([], { through: asUser(STRANGER) });
      const before = user.log;
      const through = [
        ...within(60),
        ...asUser(STRANGER),
        '/bin/sh',
        '-c',
        `ulimit ${limit}; exec "$@"`,
        'sh',
      ];
      const done = await user.ktx(['runtime', 'install', '--force', '--yes'], { through });
      const label = `ulimit ${limit}: ${done.code} ${done.signal} ${done.stderr}`;
      if (done.code === 0) outcomes.worked += 1;
      else if (done.code === 1 && /^Fix: |^Error/m.test(done.stderr)) outcomes.said += 1;
      else {
        // Node or the system ended it before ktx could say anything, or Node waits at its own start
        // for threads that it cannot have.
        expect(done.stdout, label).toBe('');
        if (done.code === 137) expect(user.log, label).toBe(before);
        outcomes['node ended'] += 1;
      }
      expect(done.stdout.startsWith('Installed'), label).toBe(done.code === 0);
      expect(await user.status({ through: asUser(STRANGER) }), label).toMatchObject({
        kind: 'ready',
      });
      await user.expectRuns({ through: asUser(STRANGER) });
      await user.install([], { through: asUser(STRANGER) });
      await user.install(['--force'], { through: asUser(STRANGER) });
      await user.expectRuns({ through: asUser(STRANGER) });
      expectUntouched();
    });
    const seen = Object.entries(outcomes).map(([name, count]) => `${count} ${name}`);
    return { times: limits.length, seen: seen.join(', ') };
  },
);

fault(
  {
    area: 'status',
    name: 'clocks',
    fault:
      'every file from 1970, 2100 or now; the clocks since the start of the machine days ahead',
    required: 'what is ready stays ready and runs; a daemon is found and ended, and nobody else is',
    missing: missing.time,
  },
  async () => {
    const clocks = [24 * 400, 1].slice(0, amount(1, 2)).map((hours) => hoursAhead(hours));
    const dates = ['1970-01-01T00:00:01Z', '2100-01-01', 'now'].slice(0, amount(2, 3));
    for (const date of dates) {
      const { user } = neighbour();
      for (const installed of [false, true]) {
        if (installed) await user.install();
        execFileSync('find', [user.root, '-exec', 'touch', '-h', '-d', date, '{}', '+']);
        if (installed) expect(await user.status()).toMatchObject({ kind: 'ready' });
        await expectHeals(user);
      }
      await user.install(['--force']);
      await user.expectRuns();
    }
    for (const through of clocks) {
      const { user } = neighbour();
      await user.install([], { through });
      expect(await user.status()).toMatchObject({ kind: 'ready' });
      await user.expectRuns({ through });
      const started = await user.ktx(['runtime', 'start'], {});
      expect(started).toMatchObject({ code: 0, stderr: '' });
      const stopped = await user.ktx(['runtime', 'stop'], { through });
      expect([0, 1]).toContain(stopped.code);
      const ended = await user.ktx(['runtime', 'stop']);
      expect(ended).toMatchObject({ code: 0 });
      await expectHeals(user);
    }
    return {
      times: 2 * dates.length + clocks.length,
      seen: `${dates.length} dates and ${clocks.length} clocks, 0 changed what is ready`,
    };
  },
);
