// How `ktx-daemon execute` is started, ended and believed. The daemons are scripts: one that hangs,
// or dies without an outcome, cannot be had otherwise.
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { type ExecuteRequest, execute } from '../src/execute.js';
import { temporaryDirectory } from './support.js';

// `#!` takes no interpreter with spaces in its path on every system, and Windows takes none.
describe.skipIf(process.platform === 'win32')('ktx-daemon execute (scripts need a POSIX shell)', () => {
  function daemon(script: string): { daemonExecutable: string; directory: string } {
    const directory = temporaryDirectory();
    const daemonExecutable = join(directory, 'ktx-daemon');
    writeFileSync(daemonExecutable, `#!/bin/sh\ncd '${directory.replaceAll("'", "'\\''")}'\n${script}\n`);
    chmodSync(daemonExecutable, 0o755);
    return { daemonExecutable, directory };
  }

  const run = (script: string, options: Partial<ExecuteRequest> = {}) =>
    execute({ code: 'x', daemonExecutable: daemon(script).daemonExecutable, ...options });

  const outcome = '{"success":true,"value":42,"stdout":"","stderr":"","error":null,"durationMs":1}';

  it('gets one JSON request and answers with one outcome', async () => {
    const { daemonExecutable, directory } = daemon(`cat > request; echo '${outcome}'`);
    const executed = await execute({
      daemonExecutable,
      code: 'é',
      upstream: { a: [1] },
      timeoutMs: 1.2,
      args: ['--'],
      filename: 'a.py',
      result: 'repr',
    });
    expect(executed).toEqual({ outcome: JSON.parse(outcome), json: outcome });
    expect(JSON.parse(readFileSync(join(directory, 'request'), 'utf8'))).toEqual({
      code: 'é',
      upstream: { a: [1] },
      timeout_ms: 2,
      args: ['--'],
      filename: 'a.py',
      result: 'repr',
    });
  });

  it('may answer without reading its request', async () => {
    const code = 'x'.repeat(1_000_000);
    expect((await run(`exec 0<&-; echo '${outcome}'`, { code })).outcome.value).toBe(42);
  });

  it('passes the environment on', async () => {
    const script = 'printf \'{"success":true,"value":"%s"}\' "$KTX_TEST"';
    const env = { ...process.env, KTX_TEST: 'here' };
    expect((await run(script, { env })).outcome.value).toBe('here');
  });

  it('is missing', async () => {
    await expect(execute({ daemonExecutable: '/nowhere/ktx-daemon', code: 'x' })).rejects.toMatchObject({
      code: 'KTX_RUNTIME_MISSING',
      message: 'Missing ktx-daemon executable: /nowhere/ktx-daemon',
      hint: 'Run: ktx runtime install --yes',
    });
  });

  describe('whose environment is gone', () => {
    const gone = 'touch ran; echo "error: gone" >&2; exit 3';
    const answer = `touch ran; echo '${outcome}'`;

    it.each([
      ['missing', undefined],
      ['refusing', gone],
    ])('is looked for once when it is %s, and run where it is found', async (_how, script) => {
      const old = script === undefined ? '/nowhere/ktx-daemon' : daemon(script).daemonExecutable;
      const findDaemon = vi.fn(async () => daemon(answer).daemonExecutable);
      const executed = await execute({ daemonExecutable: old, code: 'x', findDaemon });
      expect(executed.outcome.value).toBe(42);
      expect(findDaemon).toHaveBeenCalledOnce();
    });

    it('is not looked for a second time', async () => {
      const [old, other] = [daemon(gone).daemonExecutable, daemon(gone)];
      const findDaemon = vi.fn(async () => other.daemonExecutable);
      await expect(execute({ daemonExecutable: old, code: 'x', findDaemon })).rejects.toMatchObject({
        code: 'KTX_RUNTIME_MISSING',
        message: `The environment of ${other.daemonExecutable} is gone; no code was run`,
        hint: 'Run: ktx runtime install --yes',
        details: { stderr: 'error: gone\n' },
      });
      expect(findDaemon).toHaveBeenCalledOnce();
    });

    it.each([['the same', true], ['nowhere', false]])('stays so when it is %s', async (_where, same) => {
      const { daemonExecutable } = daemon('echo x >> runs; exit 3');
      const findDaemon = async () => (same ? daemonExecutable : undefined);
      await expect(execute({ daemonExecutable, code: 'x', findDaemon })).rejects.toMatchObject({
        code: 'KTX_RUNTIME_MISSING',
      });
      expect(readFileSync(join(daemonExecutable, '..', 'runs'), 'utf8')).toBe('x\n');
    });

    it.each(['exit 1', 'exit 2', 'kill -9 $$', 'echo nonsense'])(
      'is something else than `%s`, after which code may have run',
      async (script) => {
        const findDaemon = vi.fn(async () => daemon(answer).daemonExecutable);
        await run(script, { findDaemon }).catch(() => {});
        expect(findDaemon).not.toHaveBeenCalled();
      },
    );
  });

  it.each([
    ['echo "No such directory" >&2; exit 2', 'KTX_USAGE', 'No such directory'],
    ['echo oops >&2; exit 1', 'KTX_EXEC_FAILED', '`ktx-daemon execute` ended with exit status 1 and no outcome'],
    ['echo "error: Cannot x" >&2; exit 1', 'KTX_EXEC_FAILED', '`ktx-daemon execute` ended with exit status 1 and no outcome: Cannot x'],
    ['kill -9 $$', 'KTX_EXEC_FAILED', '`ktx-daemon execute` ended with signal SIGKILL and no outcome'],
    ['echo "<html>"', 'KTX_EXEC_FAILED', '`ktx-daemon execute` ended with exit status 0 and no outcome'],
  ])('that does `%s` is %s', async (script, code, message) => {
    await expect(run(script)).rejects.toMatchObject({ name: 'KtxError', code, message });
  });

  it('is not started by a signal that is already aborted', async () => {
    const { daemonExecutable, directory } = daemon('touch started');
    const reason = new Error('stop');
    await expect(
      execute({ daemonExecutable, code: 'x', signal: AbortSignal.abort(reason) }),
    ).rejects.toMatchObject({ code: 'KTX_ABORTED', cause: reason });
    expect(existsSync(join(directory, 'started'))).toBe(false);
  });

  it('is ended by an abort, even when it does not want to and left its pipes to a child', async () => {
    const { daemonExecutable, directory } = daemon(
      "trap '' TERM; sleep 20 & touch started; while :; do sleep 0.1; done",
    );
    const controller = new AbortController();
    const removed = vi.spyOn(controller.signal, 'removeEventListener');
    const running = execute({ daemonExecutable, code: 'x', signal: controller.signal });
    running.catch(() => {});
    await vi.waitUntil(() => existsSync(join(directory, 'started')), 5_000);
    controller.abort();
    await expect(running).rejects.toMatchObject({ code: 'KTX_ABORTED' });
    expect(removed).toHaveBeenCalled();
  });
});
