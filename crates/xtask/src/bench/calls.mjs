// Measures what programs for Node do: the same job through ktx and through what else there is.
//
// Takes settings as JSON and prints medians as JSON: `*Ms` are milliseconds of one call, `*PerSecond`
// calls of all callers together. What is compared takes turns, so that what else the machine does
// falls on all of it.
import { PythonRuntime, getKtxCliPackageInfo, stopAllManagedPythonDaemons } from '@scope/ktx';
import { fastApi, interpreter, pythonShell, pythonia } from './alternatives.mjs';

const JOB = 'sum(range(100))';
const VALUE = 4950;
const CALLERS = 16;

const { rounds, serverPython, onlySession } = JSON.parse(process.argv[2]);
const runtime = await PythonRuntime.ensure();
const python = runtime.manifest.python.executable;

async function milliseconds(call) {
  const begun = performance.now();
  const value = await call(JOB);
  const ended = performance.now();
  if (value !== VALUE) throw new Error(`${JOB} gave ${value}`);
  return ended - begun;
}

/** One call after the other. */
const sequential = (count, call) => async () => {
  const samples = [];
  for (let made = 0; made < count; made += 1) samples.push(await milliseconds(call));
  return samples;
};

/** Each caller makes one call after the other, all callers at the same time. */
const concurrent = (count, callers) => async () => {
  const begun = performance.now();
  await Promise.all(callers.map((call) => sequential(count, call)()));
  return [(count * callers.length * 1000) / (performance.now() - begun)];
};

function median(samples) {
  return samples.toSorted((a, b) => a - b)[Math.floor(samples.length / 2)];
}

/** Measures in turns; the first round fills caches and does not count. */
async function medians(measures) {
  const samples = Object.fromEntries(Object.keys(measures).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round += 1) {
    for (const [name, measure] of Object.entries(measures)) {
      const found = await measure();
      if (round > 0) samples[name].push(...found);
    }
  }
  return Object.fromEntries(Object.entries(samples).map(([name, found]) => [name, median(found)]));
}

/** From a machine without a daemon to the first result. */
async function starts() {
  const { version: cliVersion } = getKtxCliPackageInfo();
  const start = interpreter(python);
  const first = async (code) => {
    const connection = await runtime.connect();
    const { value } = await connection.execute(code);
    await connection.close();
    return value;
  };
  return await medians({
    firstResultMs: async () => {
      await stopAllManagedPythonDaemons({ cliVersion });
      return [await milliseconds(first)];
    },
    interpreterMs: sequential(1, start),
  });
}

const valueOf = (python) => async (code) => (await python.execute(code)).value;

async function calls(connection) {
  const session = valueOf(await connection.session());
  if (onlySession) return await medians({ sessionMs: sequential(500, session) });
  const sessions = await Promise.all(
    Array.from({ length: CALLERS }, async () => valueOf(await connection.session())),
  );
  const bridge = await pythonia(python);
  const server = await fastApi(serverPython, 'server.py');
  const found = await medians({
    isolatedMs: sequential(20, valueOf(connection)),
    spawnMs: sequential(10, interpreter(python)),
    pythonShellMs: sequential(5, await pythonShell(python)),
    sessionMs: sequential(200, session),
    pythoniaMs: sequential(200, bridge.call),
    fastApiMs: sequential(100, server.call),
    sessionsPerSecond: concurrent(250, sessions),
    fastApiPerSecond: concurrent(25, Array.from({ length: CALLERS }, () => server.call)),
  });
  await bridge.close();
  await server.close();
  return found;
}

const started = onlySession ? {} : await starts();
const connection = await runtime.connect();
const called = await calls(connection);
await connection.close();
console.log(JSON.stringify({ ...started, ...called, pid: connection.pid }));
