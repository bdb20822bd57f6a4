// What `ktx exec` asks of the runtime and what it does with the outcome, with stand-ins for both.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import type { ExecuteRequest } from '../src/execute.js';
import type { ExecuteOutcome } from '../src/outcome.js';
import { parseExact } from '../src/exact-json.js';
import {
  type KtxCliDeps,
  KtxError,
  type KtxIo,
  type RuntimeStatus,
  getKtxCliPackageInfo,
  runKtxCli,
} from '../src/index.js';
import { capturedIo, installed, layout, manifest, temporaryDirectory } from './support.js';

const ready = { kind: 'ready', detail: 'Ready', layout, manifest: manifest() } as const;
const missing = { kind: 'missing', detail: 'No runtime manifest at /m', layout } as const;
const done: ExecuteOutcome = {
  success: true,
  value: null,
  stdout: '',
  stderr: '',
  error: null,
  durationMs: 1,
};

function failed(kind: string, traceback: string | null = null): Partial<ExecuteOutcome> {
  return { success: false, error: { kind, message: `It was ${kind}`, traceback } };
}

async function exec(argv: string[], outcome: Partial<ExecuteOutcome>, deps: KtxCliDeps = {}, stdin?: string) {
  const captured = capturedIo();
  const io: KtxIo =
    stdin === undefined ? captured.io : { ...captured.io, stdin: Readable.from([Buffer.from(stdin)]) };
  const whole = { ...done, ...outcome };
  const execute = vi.fn(async (_request: ExecuteRequest) => ({
    outcome: whole,
    json: JSON.stringify(whole),
  }));
  const code = await runKtxCli(['exec', ...argv], io, { readStatus: () => ready, execute, ...deps });
  return { code, stdout: captured.stdout(), stderr: captured.stderr(), request: execute.mock.calls[0]?.[0] };
}

describe('the code', () => {
  it('comes from -c, with everything behind two dashes as its arguments', async () => {
    const { request } = await exec(['-c', 'x', '--timeout', '1.5', '--cwd', '/d', '--', '--json', '--', 'b'], {});
    expect(request).toEqual({
      daemonExecutable: layout.daemonPath,
      code: 'x',
      args: ['--json', '--', 'b'],
      cwd: '/d',
      timeoutMs: 1500,
      result: 'repr',
      findDaemon: expect.any(Function),
      onOutput: expect.any(Function),
      signal: expect.any(AbortSignal),
    });
  });

  it('comes from a file, whose name tracebacks show', async () => {
    const file = join(temporaryDirectory(), 'a.py');
    writeFileSync(file, 'print("ä")\n');
    const { request } = await exec([file, '--', 'a'], {});
    expect(request).toMatchObject({ code: 'print("ä")\n', filename: file, args: ['a'] });
  });

  it.each([[[]], [['-']], [['-', '--json']]])('comes from stdin with %j', async (argv) => {
    expect((await exec(argv, {}, {}, '1 + 1')).request).toMatchObject({ code: '1 + 1' });
  });

  it('must be UTF-8', async () => {
    const file = join(temporaryDirectory(), 'a.py');
    writeFileSync(file, Buffer.from([0x23, 0xff]));
    expect(await exec([file], {})).toMatchObject({
      code: 2,
      stderr: `The code in \`${file}\` is not UTF-8\n`,
    });
  });
});

describe('a runtime that is replaced', () => {
  it.each([
    [{ ...ready, manifest: { ...manifest(), python: { executable: 'p', daemonExecutable: 'new' } } }, 'new'],
    [missing, undefined],
    [{ ...ready, kind: 'broken' as const }, undefined],
  ])('is looked for again (%#)', async (now, found) => {
    const readStatus = vi.fn<() => RuntimeStatus>(() => now).mockReturnValueOnce(ready);
    const { request } = await exec(['-c', 'x'], {}, { readStatus });
    expect(await request?.findDaemon?.()).toBe(found);
  });
});

describe('the outcome', () => {
  it('goes to the streams, with the value last', async () => {
    const outcome = { stdout: 'out\n', stderr: 'err\n', value: "'text'" };
    expect(await exec(['-c', 'x'], outcome)).toMatchObject({
      code: 0,
      stdout: "out\n'text'\n",
      stderr: 'err\n',
    });
  });

  it.each([
    ['exception', 1],
    ['syntax', 1],
    ['exit', 1],
    ['signal', 1],
    ['memory', 1],
    ['output-limit', 1],
    ['timeout', 124],
  ])('of kind %s ends with %i', async (kind, code) => {
    expect(await exec(['-c', 'x'], { ...failed(kind), stdout: 'partial' })).toMatchObject({
      code,
      stdout: 'partial',
      stderr: `It was ${kind}\n`,
    });
    expect((await exec(['-c', 'x', '--json'], failed(kind))).code).toBe(code);
  });

  it('shows the traceback where there is one', async () => {
    const { stderr } = await exec(['-c', 'x'], failed('exception', 'Traceback\nNameError\n'));
    expect(stderr).toBe('Traceback\nNameError\n');
  });

  it('is passed on as JSON without rounding', async () => {
    const json = '{"success": true, "value": 12345678901234567890, "error": null}';
    const { stdout, code } = await exec(['-c', 'x', '--json'], {}, {
      execute: async () => ({ outcome: done, json }),
    });
    expect({ stdout, code }).toEqual({ stdout: `${json}\n`, code: 0 });
  });
});

describe('a missing runtime', () => {
  const installRuntime = () => vi.fn(async () => installed('installed'));

  it.each([[[]], [['--no-input']]])('stops the command with %j', async (flags) => {
    const deps = { readStatus: () => missing, installRuntime: installRuntime() };
    const { code, stdout, stderr } = await exec(['-c', 'x', ...flags], {}, deps);
    expect({ code, stdout, stderr }).toEqual({
      code: 1,
      stdout: '',
      stderr:
        'The Python runtime is missing: No runtime manifest at /m\nFix: Run: ktx runtime install --yes\n',
    });
    expect(deps.installRuntime).not.toHaveBeenCalled();
  });

  it('is installed with --yes', async () => {
    const deps = { readStatus: () => missing, installRuntime: installRuntime() };
    const { code, request } = await exec(['-c', 'x', '--yes'], {}, deps);
    expect(code).toBe(0);
    expect(deps.installRuntime.mock.calls).toStrictEqual([
      [{ cliVersion: getKtxCliPackageInfo().version, features: ['core'], force: false }],
    ]);
    expect(request?.daemonExecutable).toBe(layout.daemonPath);
  });

  it('stays missing when its installation fails', async () => {
    const deps = {
      readStatus: () => missing,
      installRuntime: () => Promise.reject(new KtxError('KTX_IO', 'Cannot write')),
    };
    expect(await exec(['-c', 'x', '--yes'], {}, deps)).toMatchObject({ code: 1, stderr: 'Cannot write\n' });
  });
});

describe('exact JSON', () => {
  it('keeps integers that a number cannot hold', () => {
    const text = '{"a":[9007199254740993,-12345678901234567890,9007199254740991,1e300,0.12345678901234568]}';
    expect(parseExact(text)).toEqual({
      a: [9007199254740993n, -12345678901234567890n, 9007199254740991, 1e300, 0.12345678901234568],
    });
  });

  it('leaves digits in strings alone', () => {
    const value = { 'k"1234567890123456789': ['\\"9007199254740993', '\\'] };
    expect(parseExact(JSON.stringify({ ...value, n: 1 }))).toEqual({ ...value, n: 1 });
  });
});
