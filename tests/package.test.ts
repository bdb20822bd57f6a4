// The installed package in the hands of programs: both module kinds, threads, the class.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { PACKAGE, User, VERSION, ktxModule as ktx, run, suite } from './support/user.js';

describe('the package', () => {
  test('gives import and require the same functions and classes', async () => {
    const entry = pathToFileURL(join(suite.project, 'node_modules', PACKAGE, 'dist/index.mjs')).href;
    const imported = (await import(/* @vite-ignore */ entry)) as typeof ktx;
    expect(Object.keys(imported).toSorted()).toEqual(
      Object.keys(ktx)
        .filter((key) => key !== 'default')
        .toSorted(),
    );
    expect(imported.KtxError).toBe(ktx.KtxError);
  });

  test('is found by name from an ES module', async () => {
    const program = `import { getKtxCliPackageInfo as info } from '${PACKAGE}'; console.log(info().version)`;
    const done = await run(join(suite.path, 'node'), ['--input-type=module', '-e', program], {
      env: {},
      cwd: suite.project,
    });
    expect(done).toMatchObject({ code: 0, stdout: `${VERSION}\n` });
  });

  test('works in several worker threads at once, and when loaded twice', async () => {
    const user = new User();
    await user.install();
    const program = `
      const { parentPort, workerData } = require('node:worker_threads');
      const entry = require.resolve('${PACKAGE}', { paths: [workerData.project] });
      const load = () => { delete require.cache[entry]; return require(entry); };
      (async () => {
        const [first, second] = [load(), load()];
        const kinds = [];
        for (const ktx of [first, second]) kinds.push((await ktx.readManagedPythonRuntimeStatus(workerData.options)).kind);
        const runtime = await second.PythonRuntime.ensure(workerData.options);
        parentPort.postMessage([first !== second, ...kinds, (await runtime.execute('6*7')).value]);
      })();`;
    const answers = Array.from({ length: 4 }, async () => {
      const worker = new Worker(program, {
        eval: true,
        workerData: { project: suite.project, options: user.options },
      });
      const answer = await new Promise((resolve, reject) =>
        worker.once('message', resolve).once('error', reject),
      );
      await worker.terminate();
      return answer;
    });
    expect(await Promise.all(answers)).toEqual(Array(4).fill([true, 'ready', 'ready', 42]));
  });

  test('PythonRuntime runs code and tells failures apart', async () => {
    const user = new User();
    const runtime = await ktx.PythonRuntime.ensure({ ...user.options });
    expect(runtime.status).toBe('installed');
    expect(await runtime.execute('print(1); {"x": upstream}', { upstream: [1] })).toMatchObject({
      value: { x: [1] },
      stdout: '1\n',
    });
    await expect(runtime.execute('1/0')).rejects.toMatchObject({
      code: 'KTX_EXEC_FAILED',
      details: { kind: 'exception', message: expect.stringContaining('division') },
    });
    await expect(runtime.execute('while True: pass', { timeoutMs: 300 })).rejects.toMatchObject({
      code: 'KTX_EXEC_TIMEOUT',
    });
    const aborted = runtime.execute('import time; time.sleep(60)', {
      signal: AbortSignal.timeout(300),
    });
    await expect(aborted).rejects.toMatchObject({ code: 'KTX_ABORTED' });
  });
});
