// Bundles the sources for a package of a given name: the names of the platform packages are literal
// strings in the result, so that bundlers and file tracers find them.
import { chmodSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);

const shared = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  // Names stay readable in stack traces.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  // The loader of modules takes longer than what it would load.
  supported: { 'dynamic-import': false },
  logLevel: 'warning',
  metafile: true,
};

// Commander loads this module for subcommands that are files of their own. There are none, and
// loading it takes as long as the rest of commander.
const withoutChildProcess = {
  name: 'without-child-process',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      importer.includes(`${join('node_modules', 'commander')}`)
        ? { path: 'child_process', namespace: 'absent' }
        : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'absent' }, () => ({ contents: '' }));
  },
};

// Packages with a file of their own: Node parses a file whole, and most starts need few of them.
const apart = { commander: 'commander', '@clack/prompts': 'prompts' };

// Our own files that are loaded when they are needed, and those of them that each needs.
const lazy = { program: [], client: [], connection: ['client'] };

const redirect = (filter, path) => ({
  name: `redirect-to-${path}`,
  setup({ onResolve }) {
    onResolve({ filter }, () => ({ path, external: true }));
  },
});

// What programs run most. The commands are short, so the time to load the parser shows.
const hotRuntime = [
  'status',
  'status --json',
  'doctor',
  'doctor --json',
  'install',
  'install --yes',
  'start',
  'start --json',
  'start --yes',
  'start --yes --json',
  'stop',
  'stop --json',
];
const hotExec = ['-c CODE', '-c CODE --json', '--json -c CODE', '--no-daemon -c CODE'];

const toVendor = Object.entries(apart).map(([id, file]) =>
  redirect(new RegExp(`^${id}$`), `./vendor/${file}.cjs`),
);
const toLazy = (file) => redirect(new RegExp(`^\\./${file}\\.js$`), `./${file}.cjs`);

async function parseHotLines(bundlePath) {
  const { runKtxCli } = require(bundlePath);
  delete require.cache[bundlePath];
  const parsed = { runtime: {}, exec: {} };
  const keep = (table, words) => (args) => {
    table[words] = args;
    return 0;
  };
  for (const line of hotRuntime) {
    const argv = ['runtime', ...line.split(' ')];
    await runKtxCli(argv, process, { runtime: keep(parsed.runtime, argv.join('\0')) });
  }
  for (const line of hotExec) {
    const argv = ['exec', ...line.split(' ')];
    const words = argv.with(argv.indexOf('CODE'), '').join('\0');
    await runKtxCli(argv, process, { exec: keep(parsed.exec, words) });
  }
  return parsed;
}

/** Writes the bundles for the package `name` into `dist`; gives the files they are made from. */
export async function bundle({ name, version, dist }) {
  const bundlePath = join(dist, 'index.cjs');
  const define = {
    KTX_PACKAGE_NAME: JSON.stringify(name),
    KTX_PACKAGE_VERSION: JSON.stringify(version),
  };
  const compile = (options) => build({ ...shared, define, ...options });
  const bundleIndex = (parsed) =>
    compile({
      entryPoints: ['src/index.ts'],
      outfile: bundlePath,
      external: [`${name}-*`],
      plugins: [...toVendor, ...Object.keys(lazy).map(toLazy)],
      define: { ...define, KTX_PARSED: JSON.stringify(parsed) },
    });
  const outputs = await Promise.all([
    bundleIndex({ runtime: {}, exec: {} }),
    compile({
      entryPoints: ['src/main.ts'],
      outfile: join(dist, 'cli.cjs'),
      banner: { js: '#!/usr/bin/env node' },
      plugins: [redirect(/^\.\/index\.js$/, './index.cjs')],
    }),
    ...Object.entries(lazy).map(([file, needed]) =>
      compile({
        entryPoints: [`src/${file}.ts`],
        outfile: join(dist, `${file}.cjs`),
        plugins: [redirect(/^\.\/ktx-error\.js$/, './index.cjs'), ...toVendor, ...needed.map(toLazy)],
      }),
    ),
    ...Object.entries(apart).map(([id, file]) =>
      compile({
        stdin: { contents: `module.exports = require('${id}');`, resolveDir: root },
        outfile: join(dist, 'vendor', `${file}.cjs`),
        minifyIdentifiers: true,
        plugins: [withoutChildProcess],
      }),
    ),
  ]);
  await bundleIndex(await parseHotLines(bundlePath));
  chmodSync(join(dist, 'cli.cjs'), 0o755);
  return outputs.flatMap(({ metafile }) => Object.keys(metafile.inputs));
}
