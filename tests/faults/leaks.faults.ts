// What calls of the addon leave behind in the program that makes them: memory, descriptors, threads
// and handles.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import type { Exec, InstallOptions, PythonConnection } from '@scope/ktx';
import { expect } from 'vitest';
import { userWithRuntime } from '../support/daemons.js';
import { type Seen, amount, fault } from '../support/rows.js';
import { PACKAGE, VERSION, ktxModule as ktx, suite, temporaryDirectory } from '../support/user.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const ROUNDS = amount(4, 8);
// Calls in a round: of what takes a fraction of a millisecond, of what takes a few, and of what
// starts threads or processes.
const MANY = amount(200, 2000);
const SOME = amount(12, 80);
const FEW = amount(4, 25);

/**
 * What this process holds while nothing is under way: bytes of JavaScript objects, bytes of memory
 * that are not JavaScript's heap, and numbers of other things.
 */
type Held = Record<'heap' | 'native' | 'descriptors' | 'threads' | 'handles', number>;

// Each margin is for a round. Eight bytes a call are less than the smallest object, and what V8
// compiles and learns meanwhile is some ten kilobytes. The system gives memory in steps of 128 KiB. A
// thread of a pool comes when the others are busy and stays for ten seconds. What the allocator keeps for
// threads that come and go swings by some hundred kilobytes for each; one that stays holds more.
const margin = (calls: number): Held => ({
  heap: 64 * 1024 + 8 * calls,
  native: calls > FEW ? 2 * 128 * 1024 : 1024 * 1024 * calls,
  descriptors: calls / 2,
  threads: calls / 2,
  handles: calls / 2,
});

async function held(): Promise<Held> {
  // Objects of the addon are let go of in the turn after they were found to be garbage.
  for (let turn = 0; turn < 3; turn += 1) {
    collectGarbage();
    await wait(1);
  }
  const { rss, heapTotal, heapUsed, external } = process.memoryUsage();
  return {
    heap: heapUsed,
    native: rss - heapTotal - external,
    descriptors: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    handles: process.getActiveResourcesInfo().length,
  };
}

/**
 * Makes calls in rounds; returns by how much each measure grew in all rounds but a quarter of them: what
 * leaks grows in every round, what does not (a cache, compiled code) grows in some, and in some much may
 * be let go of that is older.
 */
async function growth(calls: number, call: () => Promise<unknown>): Promise<Held> {
  const rounds: Held[] = [];
  // The first one warms up.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (let index = 0; index < calls; index += 1) await call();
    rounds.push(await held());
  }
  const least = (measure: keyof Held): number => {
    const values = rounds.map((round) => round[measure]);
    const growths = values.slice(1).map((value, index) => value - (values[index] ?? 0));
    return growths.toSorted((a, b) => a - b)[ROUNDS / 4] ?? Number.NaN;
  };
  return {
    heap: least('heap'),
    native: least('native'),
    descriptors: least('descriptors'),
    threads: least('threads'),
    handles: least('handles'),
  };
}

type Kind = [name: string, calls: number, call: () => Promise<unknown>];

/** Makes calls of each kind, none of which may leave anything; returns what was seen. */
async function expectNothingLeft(kinds: Kind[]): Promise<Seen> {
  const rows: Record<string, Held & { calls: number }> = {};
  for (const [name, calls, call] of kinds) rows[name] = { ...(await growth(calls, call)), calls };
  const left = Object.entries(rows).filter(([, grown]) =>
    Object.entries(margin(grown.calls)).some(([measure, most]) => !(grown[measure as keyof Held] <= most)),
  );
  expect(Object.fromEntries(left)).toEqual({});
  const most = (measure: 'heap' | 'native'): string =>
    Math.max(...Object.values(rows).map((grown) => grown[measure] / grown.calls)).toFixed(0);
  return {
    times: kinds.reduce((sum, [, calls]) => sum + calls * (ROUNDS + 1), 0),
    seen: `${kinds.length} kinds; at most ${most('heap')} B of heap and ${most('native')} B of other memory more for each, no descriptor, thread or handle`,
  };
}

/** An asset as small as it may be, and a root for what a replaced exec installs from it. */
function sandbox(): Omit<InstallOptions, 'features'> {
  const home = temporaryDirectory('leaks-');
  const assetDir = join(home, 'asset');
  const file = `kaelio_ktx-${VERSION}-py3-none-any.whl`;
  const content = 'not a zip file';
  const sha256 = createHash('sha256').update(content).digest('hex');
  const manifest = {
    schemaVersion: 1,
    distributionName: 'kaelio-ktx',
    normalizedName: 'kaelio_ktx',
    version: VERSION,
    wheel: { file, sha256, bytes: content.length },
  };
  mkdirSync(assetDir);
  writeFileSync(join(assetDir, file), content);
  writeFileSync(join(assetDir, 'manifest.json'), JSON.stringify(manifest));
  const env = { PATH: '/nowhere', HOME: home, KTX_UV_BOOTSTRAP: 'never' };
  return { cliVersion: VERSION, assetDir, env, runtimeRoot: join(home, 'root') };
}

/** A uv that makes programs which do nothing. */
const fakeUv: Exec = async (_command, args) => {
  const [verb, venv = ''] = args;
  if (verb === 'venv') {
    mkdirSync(join(venv, 'bin'), { recursive: true });
    for (const name of ['python', 'ktx-daemon']) {
      writeFileSync(join(venv, 'bin', name), '#!/bin/sh\n', { mode: 0o755 });
    }
  }
  return { stdout: verb === '--version' ? 'uv 0.13.8\n' : '', stderr: '' };
};

const noUv: Exec = async () => {
  throw Object.assign(new Error('exit 1'), { stderr: 'no' });
};

async function expectCode(code: string, work: () => unknown): Promise<void> {
  let found: unknown;
  try {
    await work();
  } catch (error) {
    found = (error as { code?: unknown }).code;
  }
  if (found !== code) throw new Error(`Not ${code} but ${String(found)}`);
}

/** A signal, and a callback that aborts it. */
function aborter(): { signal: AbortSignal; abort: () => void } {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}

function thrower(): never {
  throw Object.assign(new Error('mine'), { code: 'MINE' });
}

fault(
  {
    area: 'cli',
    name: 'leaks-of-calls',
    fault: 'each function over and over: it succeeds, fails, is aborted, its callbacks throw',
    required: 'no memory, descriptor, thread or handle is left by a call',
  },
  async () => {
    const present = { ...sandbox(), features: ['core' as const], exec: fakeUv };
    const absent = { ...sandbox(), features: ['core' as const], exec: fakeUv };
    const { assetDir = '', runtimeRoot = '' } = present;
    const { signal } = new AbortController();
    const gone = AbortSignal.abort();
    const invalid = { cliVersion: 1 as never };
    const fails = (code: string, work: () => unknown) => () => expectCode(code, work);
    const install = (change: Partial<InstallOptions>) =>
      ktx.installManagedPythonRuntime({ ...absent, ...change });
    await ktx.installManagedPythonRuntime(present);
    return await expectNothingLeft([
      ['layout', MANY, async () => ktx.managedPythonRuntimeLayout(present)],
      ['no layout', MANY, fails('KTX_USAGE', () => ktx.managedPythonRuntimeLayout(invalid))],
      ['verify', MANY, () => ktx.verifyRuntimeAsset({ assetDir })],
      ['no asset', MANY, fails('KTX_ASSET_MISSING', () => ktx.verifyRuntimeAsset({ assetDir: '/nowhere' }))],
      ['status', MANY, () => ktx.readManagedPythonRuntimeStatus(present)],
      ['no status', MANY, () => ktx.readManagedPythonRuntimeStatus(absent)],
      ['doctor', MANY, () => ktx.doctorManagedPythonRuntime(present)],
      ['doctor, no uv', SOME, () => ktx.doctorManagedPythonRuntime({ ...absent, exec: noUv })],
      ['ready', MANY, () => ktx.installManagedPythonRuntime({ ...present, signal, onProgress() {} })],
      ['install', SOME, () => ktx.installManagedPythonRuntime({ ...present, force: true, signal, onProgress() {} })],
      ['install, no uv', SOME, fails('KTX_UV_MISSING', () => install({ exec: noUv }))],
      ['install, aborted', SOME, fails('KTX_ABORTED', () => {
        const { signal, abort } = aborter();
        return install({ signal, onProgress: abort });
      })],
      ['install, aborted before', MANY, fails('KTX_ABORTED', () => install({ signal: gone }))],
      ['install, callback throws', SOME, fails('MINE', () => install({ onProgress: thrower }))],
      ['prune', SOME, () => ktx.pruneManagedPythonRuntimes({ cliVersion: VERSION, runtimeRoot })],
      ['start, ends at once', SOME, fails('KTX_DAEMON_START', () => ktx.startManagedPythonDaemon(present))],
      ['start, aborted before', MANY, fails('KTX_ABORTED', () => ktx.startManagedPythonDaemon({ ...present, signal: gone }))],
      ['no daemon', MANY, () => ktx.readManagedPythonDaemonStatus(present)],
      ['stop none', SOME, () => ktx.stopManagedPythonDaemon(present)],
      ['stop all of none', SOME, () => ktx.stopAllManagedPythonDaemons(present)],
    ]);
  },
);

fault(
  {
    area: 'daemon',
    name: 'leaks-of-clients',
    fault: 'a daemon started, found, asked, used and stopped by one program, over and over',
    required: 'no memory, descriptor, thread or handle is left in the program',
  },
  async () => {
    const user = await userWithRuntime();
    const { options } = user;
    const runtime = await ktx.PythonRuntime.ensure(options);
    const readDaemonStatus = () => ktx.readManagedPythonDaemonStatus(options);
    const io = { stdout: { write() {} }, stderr: { write() {} } };
    const logs = { command: 'logs', cliVersion: VERSION, follow: false, lines: 10 } as const;
    const connected = async (use: (python: PythonConnection) => Promise<unknown>) => {
      const python = await runtime.connect();
      await use(python);
      await python.close();
    };
    const left = await expectNothingLeft([
      ['find', SOME, () => ktx.startManagedPythonDaemon(options)],
      ['ask', SOME, readDaemonStatus],
      ['logs', SOME, () => ktx.runKtxRuntime(logs, io, { readDaemonStatus })],
      ['call', SOME, () => connected((python) => python.execute('1'))],
      ['call, raises', SOME, () => connected((python) => expectCode('KTX_EXEC_FAILED', () => python.execute('1/0')))],
      ['call, aborted', SOME, () => connected((python) => {
        const { signal, abort } = aborter();
        setImmediate(abort);
        return expectCode('KTX_ABORTED', () => python.execute('import time; time.sleep(60)', { signal }));
      })],
      ['session', SOME, () => connected(async (python) => (await python.session()).execute('1'))],
      ['execute', FEW, () => runtime.execute('1')],
      ['start and stop', FEW, async () => {
        await ktx.startManagedPythonDaemon({ ...options, force: true });
        await ktx.stopManagedPythonDaemon(options);
      }],
    ]);
    await user.expectRuns();
    return left;
  },
);

// How long an installation may take after one whose thread is gone.
const NEXT_MS = 5000;

// What a worker thread does: calls of every sort at once, and then it ends in one of four ways,
// three of which leave calls behind that are under way.
const THREAD = `
  const { parentPort, workerData } = require('node:worker_threads');
  const ktx = require(workerData.module);
  const { present, absent, ending } = workerData;
  const exec = async () => ({ stdout: 'uv 0.13.8', stderr: '' });
  const slow = () => new Promise(() => {});
  const done = Promise.allSettled([
    ktx.readManagedPythonRuntimeStatus(present),
    ktx.verifyRuntimeAsset(present),
    ktx.doctorManagedPythonRuntime({ ...present, exec }),
    ktx.doctorManagedPythonRuntime({ ...present, exec: ending === 'ends' ? exec : slow }),
    ktx.installManagedPythonRuntime({ ...absent, features: ['core'], exec, onProgress() {} }),
    ktx.readManagedPythonDaemonStatus(present),
  ]);
  if (ending === 'exits') process.exit();
  if (ending === 'throws') throw new Error('mine');
  parentPort.postMessage('under way');
`;

fault(
  {
    area: 'cli',
    name: 'leaks-of-threads',
    fault: 'worker threads that come, make calls and go, most of them with calls under way',
    required: 'no crash; nothing is left by a thread; the next installation does not wait for it',
  },
  async () => {
    const present = sandbox();
    await ktx.installManagedPythonRuntime({ ...present, features: ['core'], exec: fakeUv });
    const module = createRequire(join(suite.project, 'package.json')).resolve(PACKAGE);
    const thread = async (ending: string): Promise<void> => {
      const absent = sandbox();
      const workerData = { module, present, absent, ending };
      const env = { KTX_LOG: 'debug' };
      const worker = new Worker(THREAD, { eval: true, workerData, env, stderr: true });
      worker.once('error', () => {});
      if (ending === 'terminated') worker.once('message', () => void worker.terminate());
      await new Promise((resolve) => worker.once('exit', resolve));
      // What the thread began to install is in nobody's way.
      const signal = AbortSignal.timeout(NEXT_MS);
      await ktx.installManagedPythonRuntime({ ...absent, features: ['core'], exec: fakeUv, signal });
    };
    return await expectNothingLeft(
      ['ends', 'exits', 'throws', 'terminated'].map((ending) => [ending, FEW, () => thread(ending)]),
    );
  },
);
