// Files of ktx with other bytes than were written: cut at each place, and damaged in thousands of
// ways. What they make of it is asked of the installed package, and of the command for a part.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import type * as Ktx from '@scope/ktx';
import { DaemonUser, expectGone, isAlive } from '../support/daemons.js';
import { type Damage, damages, truncations } from '../support/damage.js';
import { type Seen, amount, fault } from '../support/rows.js';
import {
  ASSET_DIR,
  User,
  VERSION,
  fingerprint,
  keptUv,
  ktxModule,
  temporaryDirectory,
} from '../support/user.js';

const {
  doctorManagedPythonRuntime,
  pruneManagedPythonRuntimes,
  readManagedPythonDaemonStatus,
  readManagedPythonRuntimeStatus,
  verifyRuntimeAsset,
} = ktxModule;

const CUT_AND_DAMAGED = 'cut at each byte, and damaged at random';

/** Every cut and 10,000 damages, or a part of both. */
function* all(bytes: Buffer, quick = 150): Generator<Damage> {
  yield* truncations(bytes, amount(quick, bytes.length));
  yield* damages(bytes, amount(quick, 10_000));
}

/** A JSON file in which some keys have other values. */
function lie(original: Buffer, change: object): Damage {
  const bytes = Buffer.from(JSON.stringify({ ...JSON.parse(original.toString()), ...change }));
  return { bytes, label: JSON.stringify(change) };
}

/** Writes each damage into the file and tries what `attempt` does; counts what that says it saw. */
async function tryEach(
  path: string,
  what: Iterable<Damage>,
  attempt: (damage: Damage, index: number) => Promise<string>,
): Promise<Seen> {
  const counts = new Map<string, number>();
  let times = 0;
  for (const damage of what) {
    // Anew: some file systems wait for the disk when a file is written over.
    rmSync(path);
    writeFileSync(path, damage.bytes);
    try {
      const seen = await attempt(damage, times);
      counts.set(seen, (counts.get(seen) ?? 0) + 1);
    } catch (error) {
      throw new Error(`${path}, ${damage.label}`, { cause: error });
    }
    times += 1;
  }
  const sorted = [...counts].toSorted(([, one], [, other]) => other - one);
  return { times, seen: sorted.map(([seen, count]) => `${count} ${seen}`).join(', ') };
}

/** What was given, or the code with which it was refused; a refusal has to name one of `names`. */
async function answer<T>(work: Promise<T>, names: string[]): Promise<{ value: T } | string> {
  try {
    return { value: await work };
  } catch (error) {
    const { code, message } = error as Ktx.KtxError;
    expect(code, message).toMatch(/^KTX_(?!PANIC)[A-Z_]+$/);
    expect(names.some((name) => message.includes(name)) || code === 'KTX_ASSET_UNSAFE', message).toBe(
      true,
    );
    return code;
  }
}

/** What a command said that has to fail as commands do. */
function expectSaid({ code, stderr }: { code: number | null; stderr: string }): void {
  expect({ code, stderr }).toMatchObject({ code: 1 });
  expect(stderr).not.toMatch(/KTX_PANIC|panicked|^\s+at /m);
}

const digest = (path: string): string =>
  createHash('sha256').update(readFileSync(path)).digest('hex');

const ASSET = JSON.parse(readFileSync(join(ASSET_DIR, 'manifest.json'), 'utf8')) as Ktx.AssetManifest;
const ASSET_FILES: [name: string, file: string, what: (bytes: Buffer) => Iterable<Damage>][] = [
  ['manifest', 'manifest.json', (bytes) => all(bytes)],
  ['lock', ASSET.lock?.file ?? '', (bytes) => all(bytes)],
  // Millions of places: its bytes are hashed, whatever they are, so fewer show the same.
  ['wheel', ASSET.wheel.file, function* wheel(bytes) {
    yield* truncations(bytes, amount(10, 200));
    yield* damages(bytes, amount(10, 300));
  }],
];

for (const [name, file, what] of ASSET_FILES) {
  fault(
    {
      area: 'asset',
      name: `bytes-asset-${name}`,
      fault: `the asset's ${name} ${CUT_AND_DAMAGED}`,
      required: 'refused with a code, or what it names has the digest that it says',
    },
    async () => {
      const assetDir = join(temporaryDirectory('bytes-'), 'python');
      cpSync(ASSET_DIR, assetDir, { recursive: true });
      // It is hashed each time, and so it is small where it is not the one that is damaged.
      if (name !== 'wheel') {
        const wheelPath = join(assetDir, ASSET.wheel.file);
        writeFileSync(wheelPath, 'small');
        const wheel = { ...ASSET.wheel, sha256: digest(wheelPath), bytes: 5 };
        writeFileSync(join(assetDir, 'manifest.json'), JSON.stringify({ ...ASSET, wheel }, null, 2));
      }
      const path = join(assetDir, file);
      const original = readFileSync(path);
      const digests = new Map(
        readdirSync(assetDir).map((entry) => [join(assetDir, entry), digest(join(assetDir, entry))]),
      );
      const seen = await tryEach(path, what(original), async ({ bytes }) => {
        const answered = await answer(verifyRuntimeAsset({ assetDir }), [assetDir]);
        if (typeof answered === 'string') return answered;
        const { wheelPath, manifest } = answered.value;
        expect(digests.get(wheelPath)).toBe(manifest.wheel.sha256);
        if (name !== 'manifest') expect(bytes.equals(original)).toBe(true);
        return 'accepted';
      });
      writeFileSync(path, original);
      await verifyRuntimeAsset({ assetDir });
      return seen;
    },
  );
}

fault(
  {
    area: 'asset',
    name: 'bytes-asset-installed',
    fault: 'cold installation from an asset with a damaged manifest, or a lock damaged before its digest was taken',
    required: 'refused, or what is installed runs; the whole asset then installs',
  },
  async () => {
    const assetDir = join(temporaryDirectory('bytes-'), 'python');
    cpSync(ASSET_DIR, assetDir, { recursive: true });
    const user = new User({ env: { KTX_ASSET_DIR: assetDir } });
    const manifestPath = join(assetDir, 'manifest.json');
    const lockPath = join(assetDir, ASSET.lock?.file ?? '');
    const [manifest, lock] = [readFileSync(manifestPath), readFileSync(lockPath)];
    const install = async ({ bytes }: Damage, index: number): Promise<string> => {
      if (index % 2 === 1) {
        writeFileSync(lockPath, [...damages(lock, 1)][0]?.bytes ?? '');
        const record = { ...ASSET.lock, sha256: digest(lockPath), bytes: statSync(lockPath).size };
        writeFileSync(manifestPath, JSON.stringify({ ...ASSET, lock: record }));
      } else {
        writeFileSync(manifestPath, bytes);
      }
      const done = await user.ktx(['runtime', 'install', '--yes']);
      if (done.code === 0) {
        await user.expectRuns();
      } else {
        expectSaid(done);
        expect((await user.status()).kind).toBe('missing');
      }
      writeFileSync(manifestPath, manifest);
      writeFileSync(lockPath, lock);
      await user.install();
      await user.expectRuns();
      rmSync(user.versionDir, { recursive: true });
      return done.code === 0 ? 'installed' : 'refused';
    };
    return await tryEach(manifestPath, damages(manifest, amount(2, 20)), install);
  },
);

fault(
  {
    area: 'status',
    name: 'bytes-runtime-manifest',
    fault: `the runtime's manifest ${CUT_AND_DAMAGED}`,
    required: 'ready only if what it names runs in this runtime; one installation heals',
  },
  async () => {
    const user = new User();
    await user.install();
    const original = readFileSync(user.manifestPath);
    const runs = new Map<string, boolean>();
    const isOurs = ({ executable, daemonExecutable }: Ktx.RuntimeManifest['python']): boolean => {
      const key = `${executable}\n${daemonExecutable}`;
      const known = runs.get(key);
      if (known !== undefined) return known;
      const prefix = spawnSync(executable, ['-I', '-c', 'import ktx_daemon, sys; print(sys.prefix)']);
      const version = spawnSync(daemonExecutable, ['--version']);
      const found =
        dirname(prefix.stdout?.toString().trim() ?? '') === user.versionDir &&
        version.stdout?.toString().trim() === `ktx-daemon ${VERSION}` &&
        // However it is spelt.
        dirname(dirname(realpathSync(dirname(daemonExecutable)))) === user.versionDir;
      runs.set(key, found);
      return found;
    };
    const look = async (): Promise<string> => {
      const status = await readManagedPythonRuntimeStatus(user.options);
      if (status.manifest === undefined) expect(status.detail).toContain(user.manifestPath);
      else if (status.kind === 'ready') {
        expect(isOurs(status.manifest.python), JSON.stringify(status.manifest.python)).toBe(true);
      }
      return status.kind;
    };
    const { executable, daemonExecutable } = JSON.parse(original.toString()).python;
    const lies = [
      { executable: daemonExecutable, daemonExecutable: executable },
      { executable, daemonExecutable: '/bin/sh' },
      { executable, daemonExecutable: dirname(daemonExecutable) },
      { executable: process.execPath, daemonExecutable },
    ].map((python) => lie(original, { python }));
    const seen = await tryEach(user.manifestPath, [...lies, ...all(original)], look);
    const healed = await tryEach(
      user.manifestPath,
      damages(original, amount(3, 20)),
      async ({ bytes }) => {
        const { kind } = await user.status();
        const done = await user.ktx(['exec', '-c', 'print(6*7)']);
        if (done.code === 0) expect(done.stdout).toBe('42\n');
        else expectSaid(done);
        writeFileSync(user.manifestPath, bytes);
        await user.install();
        await user.expectRuns();
        return kind;
      },
    );
    return { times: seen.times + healed.times, seen: `${seen.seen}; ${healed.times} healed` };
  },
);

fault(
  {
    area: 'daemon',
    name: 'bytes-daemon-state',
    fault: `the state of a live daemon ${CUT_AND_DAMAGED}, or with what others own`,
    required: 'running only with what it had; nobody else is signalled, nothing of others removed',
  },
  async () => {
    const user = new DaemonUser();
    await user.install();
    const started = await user.startDaemon();
    const original = readFileSync(started.stateFile);
    const seen = await tryEach(started.stateFile, all(original), async () => {
      const { kind, state } = await readManagedPythonDaemonStatus(user.options);
      if (kind === 'running') {
        expect(state?.pid).toBe(started.pid);
        // However it is spelt.
        expect(normalize(state?.endpoint ?? '')).toBe(started.endpoint);
      }
      return kind;
    });
    writeFileSync(started.stateFile, original);
    const [bystander, outside] = [spawn('sleep', ['600']), temporaryDirectory('outside-')];
    onTestFinished(() => void bystander.kill('SIGKILL'));
    const socket = join(outside, 'empty', '0badcafe@localhost');
    mkdirSync(dirname(socket));
    writeFileSync(socket, '');
    const before = fingerprint(outside);
    const lies = [
      { pid: bystander.pid },
      { pid: 1 },
      { endpoint: `unix:${socket}` },
      { endpoint: `unix:${dirname(socket)}/../empty/0badcafe@localhost` },
      { endpoint: '192.0.2.1:4711' },
      { logPath: socket, environment: outside },
    ];
    let times = 0;
    const stop = async (damaged: (state: Buffer) => Damage): Promise<void> => {
      for (const isDead of [false, true]) {
        const daemon = await user.startDaemon();
        const state = readFileSync(daemon.stateFile);
        if (isDead) {
          process.kill(daemon.pid, 'SIGKILL');
          await expectGone(daemon.pid);
        }
        writeFileSync(daemon.stateFile, damaged(state).bytes);
        const stopped = await user.ktx(['runtime', 'stop', '--all']);
        if (stopped.code !== 0) expectSaid(stopped);
        expect(isAlive(bystander.pid ?? 0)).toBe(true);
        expect(fingerprint(outside)).toBe(before);
        const next = await user.startDaemon();
        if (isAlive(daemon.pid) && next.pid !== daemon.pid) process.kill(daemon.pid, 'SIGTERM');
        times += 1;
      }
    };
    for (const change of lies) await stop((state) => lie(state, change));
    for (const damage of damages(original, amount(1, 10))) await stop(() => damage);
    await user.expectRuns();
    return { times: seen.times + times, seen: `${seen.seen}; ${times} stopped and started anew` };
  },
);

fault(
  {
    area: 'prune',
    name: 'bytes-daemon-version',
    fault: `the version beside a live daemon's state ${CUT_AND_DAMAGED}`,
    required: 'prune leaves what is in use',
  },
  async () => {
    const user = new DaemonUser();
    await user.install();
    const { stateFile } = await user.startDaemon();
    const path = join(dirname(stateFile), 'version');
    const seen = await tryEach(path, all(readFileSync(path)), async () => {
      const options = { cliVersion: VERSION, runtimeRoot: user.root };
      const { removed } = await pruneManagedPythonRuntimes(options);
      expect(removed).toEqual([]);
      expect(existsSync(stateFile)).toBe(true);
      return 'left';
    });
    expect((await readManagedPythonDaemonStatus(user.options)).kind).toBe('running');
    return seen;
  },
);

fault(
  {
    area: 'uv',
    name: 'bytes-uv-stamp',
    fault: `another program in place of the kept uv, whose stamp is ${CUT_AND_DAMAGED}`,
    required: 'never run; the uv that was kept is found again, whatever its stamp says',
  },
  async () => {
    const user = new User();
    await user.install();
    const uv = keptUv(user.root);
    const path = join(dirname(uv), 'uv.stamp');
    const original = readFileSync(path);
    // What else the doctor looks at is not there, and takes no time.
    const options = { ...user.options, cliVersion: '0.0.0', assetDir: user.home };
    const look = async (): Promise<Ktx.DoctorCheck | undefined> =>
      (await doctorManagedPythonRuntime(options)).find(({ id }) => id === 'uv');
    const believed = await tryEach(path, damages(original, amount(5, 50)), async () => {
      expect(await look()).toMatchObject({ status: 'pass' });
      return 'hashed again';
    });
    const marker = join(user.home, 'was-run');
    rmSync(uv);
    writeFileSync(uv, `#!/bin/sh\necho uv 99; : >'${marker}'\n`, { mode: 0o755 });
    const refused = await tryEach(path, all(original, 100), async () => {
      expect(await look()).toMatchObject({ status: 'fail', detail: expect.stringContaining(uv) });
      expect(existsSync(marker)).toBe(false);
      return 'not run';
    });
    await user.install(['--force']);
    await user.expectRuns();
    return {
      times: believed.times + refused.times,
      seen: `${believed.seen}, ${refused.seen}`,
    };
  },
);
