// Much of it, for long: what is right at first stays right, and nothing grows.
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { PythonConnection } from '@scope/ktx';
import { DaemonUser, familyOf } from '../support/daemons.js';
import { eventually, processesMarked } from '../support/processes.js';
import { amount, fault } from '../support/rows.js';
import { ktxModule, temporaryDirectory } from '../support/user.js';

const { PythonRuntime, startManagedPythonDaemon, stopManagedPythonDaemon } = ktxModule;

const MIB = 1024 * 1024;
// What allocators and caches may keep: a leak of 50 bytes in each of 100,000 calls is more.
const MARGIN_MIB = 4;
// What V8 has of the system comes and goes by some MiB that its own figures lag behind.
const CALLER_MARGIN_MIB = 16;
// The daemon, its guard and the warm parent; what comes after them comes and goes.
const LASTING = 3;

const pause = async (milliseconds: number): Promise<void> =>
  await new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Somebody whose temporary files lie in the home too, with a connection to a daemon. */
interface Resident {
  user: DaemonUser;
  python: PythonConnection;
}

async function newResident(): Promise<Resident> {
  const home = temporaryDirectory('home-');
  const user = new DaemonUser({ home, env: { TMPDIR: join(home, 'tmp') } });
  mkdirSync(join(home, 'tmp'));
  const python = await (await PythonRuntime.ensure(user.options)).connect();
  // Python keeps what it compiled on the first occasion.
  await python.execute('1');
  return { user, python };
}

/** What is taken of the machine. */
interface Burden {
  counts: { processes: number; descriptors: number; files: number; ours: number };
  lasting: number[];
  /** MiB of those that last. */
  memory: number[];
}

/** MiB that a process holds in memory. */
function memoryOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** MiB that this process holds besides the heap that JavaScript's collector sees to. */
function memoryOfCaller(): number {
  const { rss, heapTotal } = process.memoryUsage();
  return (rss - heapTotal) / MIB;
}

function burdenOf(home: string, pid: number): Burden {
  const family = familyOf(pid);
  const lasting = family.slice(0, LASTING);
  const descriptorsOf = (process: number | string): number =>
    readdirSync(`/proc/${process}/fd`).length;
  const counts = {
    processes: family.length,
    descriptors: family.reduce((sum, process) => sum + descriptorsOf(process), 0),
    files: readdirSync(home, { recursive: true }).length,
    ours: descriptorsOf('self'),
  };
  return { counts, lasting, memory: lasting.map(memoryOf) };
}

/** The burden when nothing changes any more: the worker that is kept ready is there. */
async function settled(home: string, pid: number): Promise<Burden> {
  let last = '';
  return await eventually('the daemon to settle', () => {
    try {
      const burden = burdenOf(home, pid);
      const before = last;
      last = JSON.stringify([burden.counts, burden.lasting]);
      return last === before && burden.counts.processes > LASTING && burden;
    } catch {
      // A worker ended between the listing and the look.
      return false;
    }
  });
}

/** Does the work, after which the daemon is the same and takes no more of the machine. */
async function unburdened(resident: Resident, work: () => Promise<void>): Promise<string> {
  const { user, python } = resident;
  const before = await settled(user.home, python.pid);
  await work();
  const after = await settled(user.home, python.pid);
  expect([after.counts, after.lasting]).toEqual([before.counts, before.lasting]);
  const figures = after.memory.map((now, index) => {
    const then = before.memory[index] ?? 0;
    expect(now - then).toBeLessThan(MARGIN_MIB);
    return `${then.toFixed(1)} to ${now.toFixed(1)}`;
  });
  const { processes, descriptors, files } = after.counts;
  await user.expectRuns();
  await python.close();
  await user.stopAll();
  await eventually('all to end', () => processesMarked(user.home).size === 0);
  return `${processes} processes, ${descriptors} descriptors and ${files} files before and after; MiB of daemon, guard and warm parent: ${figures.join(', ')}`;
}

fault(
  {
    area: 'daemon',
    name: 'start-and-stop-for-long',
    fault: 'a daemon is started and stopped again and again',
    required: 'each start and stop succeeds and leaves nothing',
  },
  async () => {
    const { user, python } = await newResident();
    await python.close();
    const count = (): number[] => [
      readdirSync(user.home, { recursive: true }).length,
      readdirSync('/proc/self/fd').length,
      processesMarked(user.home).size,
    ];
    await stopManagedPythonDaemon(user.options);
    const before = count();
    const times = amount(50, 1000);
    const pids = new Set<number>();
    let memory = 0;
    for (let cycle = 0; cycle < times; cycle += 1) {
      if (cycle === Math.ceil(times / 10)) memory = memoryOfCaller();
      const started = await startManagedPythonDaemon({ ...user.options, features: ['core'] });
      expect(started.status).toBe('started');
      pids.add(started.state.pid);
      expect((await stopManagedPythonDaemon(user.options)).status).toBe('stopped');
      expect(processesMarked(user.home).size).toBe(0);
    }
    expect(count()).toEqual(before);
    const grown = memoryOfCaller() - memory;
    expect(grown).toBeLessThan(CALLER_MARGIN_MIB);
    await user.expectRuns();
    const [files, descriptors] = before;
    return {
      times,
      seen: `${pids.size} daemons came and went, ${files} files and ${descriptors} descriptors of the caller before and after, no process left; the caller grew by ${grown.toFixed(1)} MiB besides its JavaScript`,
    };
  },
);

fault(
  {
    area: 'exec',
    name: 'session-calls-for-long',
    fault: 'calls in sessions, one after the other',
    required: 'every value is right, nothing grows',
  },
  async () => {
    const resident = await newResident();
    const times = amount(8_000, 100_000);
    const call = async (count: number): Promise<void> => {
      const session = await resident.python.session();
      const worker = Number((await session.execute('import os; n = 0; os.getpid()')).value);
      let before = 0;
      for (let n = 1; n <= count; n += 1) {
        // No text is like one before.
        const { value, stdout } = await session.execute(`n += 1\nprint(-n)\nn # ${n}`);
        if (value !== n || stdout !== `${-n}\n`) expect({ value, stdout }).toBe(n);
        if (n === Math.ceil(count / 10)) before = memoryOf(worker);
      }
      workers.push(memoryOf(worker) - before);
      await session.close();
    };
    const workers: number[] = [];
    const inFour = async (count: number): Promise<void> =>
      void (await Promise.all(Array.from({ length: 4 }, () => call(count / 4))));
    await inFour(400);
    const seen = await unburdened(resident, () => inFour(times));
    const grown = Math.max(...workers);
    expect(grown).toBeLessThan(MARGIN_MIB);
    return {
      times,
      seen: `${times} values right; ${seen}; a worker grew by ${grown.toFixed(1)} MiB at most`,
    };
  },
);

/** Ways in which code takes its worker along, and what its caller hears. */
const CRASHES: [code: string, heard: Record<string, unknown>][] = [
  ['import os; os._exit(7)', { kind: 'exit', exitStatus: 7 }],
  ['import ctypes; ctypes.string_at(0)', { kind: 'signal', signal: 11 }],
  ['import os; os.kill(os.getpid(), 9)', { kind: 'signal', signal: 9 }],
  ['bytearray(1 << 30)', { kind: 'memory' }],
];

fault(
  {
    area: 'exec',
    name: 'crashes-among-calls-for-long',
    fault: 'isolated calls, 5 % of which exit, segfault, kill themselves or run out of memory',
    required: 'those say what happened, all others are right, nothing grows',
  },
  async () => {
    const resident = await newResident();
    const times = amount(800, 10_000);
    let crashed = 0;
    const call = async (n: number): Promise<void> => {
      if (n % 20 !== 0) {
        const { value } = await resident.python.execute(`${n} * ${n}`);
        if (value !== n * n) expect(value).toBe(n * n);
        return;
      }
      const [code, heard] = CRASHES[(n / 20) % CRASHES.length] ?? [];
      const work = resident.python.execute(`${code}`, { maxMemoryBytes: 256 * MIB });
      await expect(work, code).rejects.toMatchObject({ code: 'KTX_EXEC_FAILED', details: heard });
      crashed += 1;
    };
    const byEight = async (count: number): Promise<void> => {
      let next = 0;
      const caller = async (): Promise<void> => {
        while (next < count) await call((next += 1));
      };
      await Promise.all(Array.from({ length: 8 }, caller));
    };
    await byEight(160);
    crashed = 0;
    const seen = await unburdened(resident, () => byEight(times));
    return { times, seen: `${crashed} crashes told, ${times - crashed} values right; ${seen}` };
  },
);

/** Stops a daemon and all below it for a while; it wakes before the others do. */
async function asleep(pid: number, milliseconds: number): Promise<void> {
  const [daemon = pid, ...others] = familyOf(pid);
  const signal = (name: NodeJS.Signals, ...family: number[]): void => {
    for (const member of family) {
      try {
        process.kill(member, name);
      } catch {
        // A worker whose call is over.
      }
    }
  };
  // A guard that is stopped alone is made to go on.
  signal('SIGSTOP', daemon, ...others);
  await pause(milliseconds);
  signal('SIGCONT', daemon);
  await pause(20);
  signal('SIGCONT', ...others);
}

const FAMILY = `
import os, time
for _ in range(100):
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
os.write(1, b'there')
time.sleep(600)`;

fault(
  {
    area: 'daemon',
    name: 'sleep-and-wake',
    fault: 'the daemon and all below it are stopped and go on, with calls on their way',
    required: 'each call is answered, right and once; sessions and processes stay',
  },
  async () => {
    const resident = await newResident();
    const { python } = resident;
    const sleeps = Array.from({ length: amount(12, 96) }, (_, index) => 50 * (1 + (index % 8)));
    // Longer than what is waited for anybody in the daemon.
    sleeps.push(...Array.from({ length: amount(1, 4) }, () => 7_000));
    let calls = 0;
    const seen = await unburdened(resident, async () => {
      const session = await python.session();
      await session.execute('n = 0');
      let isAwake = true;
      const caller = async (): Promise<void> => {
        while (isAwake) {
          calls += 1;
          const n = calls;
          expect((await python.execute(`${n} * ${n}`)).value).toBe(n * n);
        }
      };
      const callers = Promise.all(Array.from({ length: 4 }, caller));
      callers.catch(() => {});
      for (const [index, milliseconds] of sleeps.entries()) {
        // What has to end is too much to have ended when all fall asleep.
        const controller = new AbortController();
        const running = python.stream(FAMILY, controller);
        expect((await running.next()).done).toBe(false);
        const cut = expect(running.next()).rejects.toMatchObject({ code: 'KTX_ABORTED' });
        controller.abort();
        await pause(2);
        await asleep(python.pid, milliseconds);
        await cut;
        expect((await session.execute('n += 1; n')).value).toBe(index + 1);
        await pause(20);
      }
      isAwake = false;
      await callers;
      await session.close();
    });
    return {
      times: sleeps.length,
      seen: `${sleeps.length} sleeps of up to 7 s, ${calls + sleeps.length} values right; ${seen}`,
    };
  },
);

fault(
  {
    area: 'daemon',
    name: 'idle-end-in-sleep',
    fault: 'the daemon sleeps beyond the time after which it leaves, and is called before it wakes',
    required: 'the call is answered, by this daemon or by the next',
  },
  async () => {
    const { user, python: first } = await newResident();
    await first.close();
    await user.stopAll();
    const runtime = await PythonRuntime.ensure(user.options);
    const python = await runtime.connect({ idleTimeoutMs: 1_000 });
    const times = amount(2, 20);
    const pids = new Set<number>();
    for (let n = 0; n < times; n += 1) {
      const sleep = asleep(python.pid, 1_000 + 10 * n);
      await pause(100);
      const [{ value }] = await Promise.all([python.execute(`${n} + 1`), sleep]);
      expect(value).toBe(n + 1);
      pids.add(python.pid);
    }
    await python.close();
    await user.expectRuns();
    await user.stopAll();
    await eventually('all to end', () => processesMarked(user.home).size === 0);
    return { times, seen: `${times} values right, from ${pids.size} daemons` };
  },
);
