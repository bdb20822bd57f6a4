// Python from a Node program: the classes and functions of the installed package.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PythonConnection } from '@scope/ktx';
import { type DaemonUser, commandLines, expectGone, userWithRuntime } from './support/daemons.js';
import { eventually, run } from './support/processes.js';
import { PACKAGE, ktxModule, suite } from './support/user.js';

const { PythonRuntime, readManagedPythonDaemonStatus, stopManagedPythonDaemon } = ktxModule;

let user: DaemonUser;
let python: PythonConnection;

beforeAll(async () => {
  user = await userWithRuntime();
  python = await (await PythonRuntime.ensure(user.options)).connect();
});

afterAll(async () => {
  await python.close();
});

const failure = async (work: Promise<unknown>): Promise<Record<string, unknown>> =>
  await work.then(
    () => expect.unreachable(),
    (error: Record<string, unknown>) => error,
  );

describe('values', () => {
  test('come as what they are', async () => {
    const { value } = await python.execute(`
import datetime
{
    'nan': float('nan'), 'inf': float('-inf'), 'bytes': b'\\x00\\xff', 'big': 2**70, 'neg': -2**70,
    'safe': 2**53 - 1, 'unsafe': 2**60, 'tuple': (1, 2), 'set': {1}, 'map': {1: 'a', (2, 3): 'b'},
    'none': None, 'text': 'ä\\N{GRINNING FACE}', 'nested': [[[{'a': []}]]], '__proto__': 1,
    'time': datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, datetime.timezone.utc),
}`);
    const found = value as Record<string, unknown>;
    expect(found['nan']).toBeNaN();
    expect(found['inf']).toBe(-Infinity);
    expect(Buffer.isBuffer(found['bytes'])).toBe(true);
    expect(found['bytes']).toEqual(Buffer.from([0, 255]));
    expect(found['big']).toBe(2n ** 70n);
    expect(found['neg']).toBe(-(2n ** 70n));
    expect(found['safe']).toBe(2 ** 53 - 1);
    expect(found['unsafe']).toBe(2n ** 60n);
    expect(found['tuple']).toEqual([1, 2]);
    expect(found['set']).toEqual(new Set([1]));
    expect(found['map']).toEqual(
      new Map<unknown, unknown>([
        [1, 'a'],
        [[2, 3], 'b'],
      ]),
    );
    expect(found['none']).toBeNull();
    expect(found['text']).toBe('ä😀');
    expect(found['nested']).toEqual([[[{ a: [] }]]]);
    expect(Object.getOwnPropertyDescriptor(found, '__proto__')?.value).toBe(1);
    expect(found['time']).toEqual(new Date('2026-01-02T03:04:05.678Z'));
  });

  test('go as what they are', async () => {
    const upstream = {
      int: 1,
      float: 1.5,
      big: 2n ** 80n,
      bytes: Buffer.from([1]),
      set: new Set([1]),
      map: new Map([[1, 2]]),
      date: new Date(0),
      nothing: undefined,
      nan: Number.NaN,
    };
    const code = '{k: (type(v).__name__, repr(v)) for k, v in upstream.items()}';
    const { value } = await python.execute(code, { upstream });
    expect(value).toMatchObject({
      int: ['int', '1'],
      float: ['float', '1.5'],
      big: ['int', String(2n ** 80n)],
      bytes: ['bytes', "b'\\x01'"],
      set: ['set', '{1}'],
      map: ['dict', '{1: 2}'],
      date: ['datetime', expect.stringContaining('1970')],
      nan: ['float', 'nan'],
    });
  });

  test('may be large, both ways', async () => {
    const text = 'x'.repeat(10 * 1024 * 1024);
    const floats = Array.from({ length: 1_000_000 }, (_, index) => index + 0.5);
    const { value } = await python.execute('upstream', { upstream: { text, floats } });
    const back = value as { text: string; floats: number[] };
    expect(back.text === text).toBe(true);
    expect(back.floats).toHaveLength(floats.length);
    expect(back.floats[999_999]).toBe(999_999.5);
  });

  test('without a form fail with type and place', async () => {
    const error = await failure(python.execute('import decimal; [1, {"a": decimal.Decimal(1)}]'));
    expect(error['code']).toBe('KTX_EXEC_FAILED');
    expect(error['details']).toMatchObject({ kind: 'unserializable' });
    expect(error['message']).toMatch(/decimal\.Decimal/);
    const refused = await failure(python.execute('1', { upstream: { a: () => 1 } }));
    expect(refused['code']).toBe('KTX_USAGE');
  });
});

describe('failures', () => {
  test('carry kind, traceback and output', async () => {
    const error = await failure(python.execute('print("seen")\nraise ValueError("no")'));
    expect(error).toMatchObject({
      name: 'KtxError',
      code: 'KTX_EXEC_FAILED',
      message: 'ValueError: no',
    });
    expect(error['details']).toMatchObject({
      kind: 'exception',
      stdout: 'seen\n',
      traceback: expect.stringContaining('line 2'),
    });
  });

  test('of time and will end the code', async () => {
    const code = 'import subprocess; subprocess.run(["/bin/sleep", "7656"])';
    const late = await failure(python.execute(code, { timeoutMs: 300 }));
    expect(late['code']).toBe('KTX_EXEC_TIMEOUT');
    expect(commandLines('/bin/sleep 7656')).toEqual([]);
    const controller = new AbortController();
    const aborted = failure(python.execute(code, { signal: controller.signal }));
    await eventually('the code to run', () => commandLines('/bin/sleep 7656').length > 0);
    controller.abort(new Error('enough'));
    expect(await aborted).toMatchObject({ code: 'KTX_ABORTED', cause: new Error('enough') });
    await eventually('the code to end', () => commandLines('/bin/sleep 7656').length === 0);
    const early = await failure(python.execute('1', { signal: AbortSignal.abort() }));
    expect(early['code']).toBe('KTX_ABORTED');
  });
});

describe('sessions', () => {
  test('keep variables; calls without one share nothing', async () => {
    const session = await python.session();
    await session.execute('import logging, sys; x = 1; logging.basicConfig(stream=sys.stderr)');
    const { stderr } = await session.execute('x += 1; logging.warning("from %s", x)');
    expect(stderr).toBe('WARNING:root:from 2\n');
    expect((await session.execute('x')).value).toBe(2);
    expect((await failure(python.execute('x')))['message']).toContain('NameError');
    await session.close();
    expect((await failure(session.execute('x')))['code']).toBe('KTX_USAGE');
  });

  test('that are lost say so and never begin anew in silence', async () => {
    const session = await python.session('precious');
    await session.execute('x = 1');
    const late = await failure(session.execute('while True: pass', { timeoutMs: 200 }));
    expect(late['code']).toBe('KTX_EXEC_TIMEOUT');
    expect((await failure(session.execute('x')))['code']).toBe('KTX_SESSION_LOST');
    const again = await python.session('precious');
    expect((await failure(again.execute('x')))['code']).toBe('KTX_EXEC_FAILED');
    await again.close();
  });
});

test('streams output and outcome', async () => {
  let written = '';
  let outcome: unknown;
  for await (const event of python.stream('print("ä")\n1 / 0')) {
    if (event.type === 'stdout') written += event.data;
    else outcome = event;
  }
  expect(written).toBe('ä\n');
  expect(outcome).toMatchObject({ type: 'outcome', success: false });
  for await (const event of python.stream(
    'import subprocess\nprint(1, flush=True)\nsubprocess.run(["/bin/sleep", "7657"])',
  )) {
    expect(event).toMatchObject({ type: 'stdout' });
    break;
  }
  await eventually('the code to end', () => commandLines('/bin/sleep 7657').length === 0);
});

test('16 callers at once never mix output', async () => {
  const call = async (n: number): Promise<void> => {
    const { stdout } = await python.execute(
      `import os, sys\nfor _ in range(50):\n    print("${n}")\n    os.system("echo ${n}")`,
    );
    expect(stdout).toBe(`${n}\n`.repeat(100));
  };
  await Promise.all(Array.from({ length: 16 }, (_, n) => call(n)));
});

describe('a client', () => {
  test('survives a daemon that is replaced between calls', async () => {
    const other = await userWithRuntime();
    const connection = await (await PythonRuntime.ensure(other.options)).connect();
    expect((await connection.execute('1')).value).toBe(1);
    const stopped = await stopManagedPythonDaemon(other.options);
    expect(stopped.status).toBe('stopped');
    expect((await connection.execute('2')).value).toBe(2);
    const status = await readManagedPythonDaemonStatus(other.options);
    expect(status.kind).toBe('running');
    await connection.close();
  });

  test('is told when the daemon dies during a call, and goes on', async () => {
    const other = await userWithRuntime();
    const connection = await (await PythonRuntime.ensure(other.options)).connect();
    const marker = join(other.home, 'marker');
    const lost = failure(
      connection.execute(`open(${JSON.stringify(marker)}, 'a').write('x')\nimport time; time.sleep(600)`),
    );
    await eventually('the code to run', () => existsSync(marker));
    process.kill(connection.pid, 'SIGKILL');
    expect((await lost)['code']).toBe('KTX_DAEMON_LOST');
    await expectGone(connection.pid);
    expect((await connection.execute('3')).value).toBe(3);
    expect(readFileSync(marker, 'utf8')).toBe('x');
    await connection.close();
  });

  test('lets Node end, closed or idle', async () => {
    const script = join(user.project, `ends-${process.pid}.mjs`);
    writeFileSync(
      script,
      `import { PythonRuntime } from '${PACKAGE}';
const python = await (await PythonRuntime.ensure()).connect();
console.log((await python.execute('1')).value);
if (process.argv[2] === 'close') await python.close();
`,
    );
    for (const argument of ['close', 'leave']) {
      const done = await run(join(suite.path, 'node'), [script, argument], {
        env: user.env,
        cwd: user.home,
      });
      expect(done).toEqual({ code: 0, signal: null, stdout: '1\n', stderr: '' });
    }
  });
});
