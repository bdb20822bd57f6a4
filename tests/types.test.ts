// The types that ship with the package, as programs of both module kinds see them.
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PACKAGE, copyOfPackages, run, suite, temporaryDirectory } from './support/user.js';

const NODE_MODULES = join(import.meta.dirname, '../node_modules');

const USE = `
async function use(): Promise<number> {
  const exec: Exec = async (_command: string, _args: string[]) => ({ stdout: '', stderr: '' });
  const installed: InstallResult = await installManagedPythonRuntime({
    cliVersion: '1.2.3', features: ['core'], exec, force: true, env: process.env,
    onProgress: ({ preset, bytes }) => void [preset.length, bytes?.toFixed()],
    signal: AbortSignal.timeout(1000),
  });
  const kind: 'missing' | 'ready' | 'mismatched' | 'broken' =
    (await readManagedPythonRuntimeStatus({ cliVersion: '1.2.3' })).kind;
  const runtime = await PythonRuntime.ensure({ features: ['core'] });
  const { value, stdout } = await runtime.execute('1', { timeoutMs: 1000 });
  try {
    await runKtxCli(['runtime', 'status']);
  } catch (error) {
    if (error instanceof KtxError) error.code.startsWith('KTX_');
  }
  const text: string = installed.layout.venvDir + installed.manifest.python.executable + kind + stdout + String(value);
  // @ts-expect-error: not a feature
  await PythonRuntime.ensure({ features: ['nonsense'] });
  // @ts-expect-error: the version is required
  await readManagedPythonRuntimeStatus({});
  return text.length + (await runKtxRuntime({ command: 'status', cliVersion: '1', json: true }));
}
void use;
`;
const NAMES =
  'KtxError, PythonRuntime, installManagedPythonRuntime, readManagedPythonRuntimeStatus, runKtxCli, runKtxRuntime';

test.each([
  [
    'consumer.mts',
    `import { ${NAMES} } from '${PACKAGE}';\nimport type { Exec, InstallResult } from '${PACKAGE}';\n${USE}`,
  ],
  [
    'consumer.cts',
    `import ktx = require('${PACKAGE}');\nimport type { Exec, InstallResult } from '${PACKAGE}';\nconst { ${NAMES.replace('KtxError, PythonRuntime, ', '')} } = ktx;\nimport KtxError = ktx.KtxError;\nimport PythonRuntime = ktx.PythonRuntime;\n${USE}`,
  ],
])('%s compiles with the strictest settings', { timeout: 120_000 }, async (file, source) => {
  const project = copyOfPackages(join(temporaryDirectory('types-'), 'project'));
  symlinkSync(join(NODE_MODULES, '@types'), join(project, 'node_modules/@types'));
  symlinkSync(join(NODE_MODULES, 'undici-types'), join(project, 'node_modules/undici-types'));
  writeFileSync(join(project, file), source);
  const options = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2022',
    '--types',
    'node',
    '--exactOptionalPropertyTypes',
    '--skipLibCheck',
    'false',
  ];
  const compiler = join(NODE_MODULES, 'typescript/bin/tsc');
  const done = await run(join(suite.path, 'node'), [compiler, ...options, file], {
    env: { PATH: suite.path },
    cwd: project,
  });
  expect(done).toEqual({ code: 0, signal: null, stdout: '', stderr: '' });
});
