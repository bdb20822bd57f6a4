// Builds dist/: one bundle that `require`, `import` and the `ktx` file share, what it loads when it is
// needed, the types, and the licences of what is bundled.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, 'dist');
const bundlePath = join(dist, 'index.cjs');
const require = createRequire(import.meta.url);
const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

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
  define: {
    KTX_PACKAGE_NAME: JSON.stringify(name),
    KTX_PACKAGE_VERSION: JSON.stringify(version),
  },
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

async function bundleIndex(parsed) {
  return await build({
    ...shared,
    entryPoints: ['src/index.ts'],
    outfile: bundlePath,
    external: [`${name}-*`],
    plugins: [...toVendor, ...Object.keys(lazy).map(toLazy)],
    define: { ...shared.define, KTX_PARSED: JSON.stringify(parsed) },
  });
}

async function parseHotLines() {
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

async function bundle() {
  const outputs = await Promise.all([
    bundleIndex({ runtime: {}, exec: {} }),
    build({
      ...shared,
      entryPoints: ['src/main.ts'],
      outfile: 'dist/cli.cjs',
      banner: { js: '#!/usr/bin/env node' },
      plugins: [redirect(/^\.\/index\.js$/, './index.cjs')],
    }),
    ...Object.entries(lazy).map(([file, needed]) =>
      build({
        ...shared,
        entryPoints: [`src/${file}.ts`],
        outfile: `dist/${file}.cjs`,
        plugins: [redirect(/^\.\/ktx-error\.js$/, './index.cjs'), ...toVendor, ...needed.map(toLazy)],
      }),
    ),
    ...Object.entries(apart).map(([id, file]) =>
      build({
        ...shared,
        stdin: { contents: `module.exports = require('${id}');`, resolveDir: root },
        outfile: `dist/vendor/${file}.cjs`,
        minifyIdentifiers: true,
        plugins: [withoutChildProcess],
      }),
    ),
  ]);
  await bundleIndex(await parseHotLines());
  chmodSync(join(dist, 'cli.cjs'), 0o755);
  return outputs.flatMap(({ metafile }) => Object.keys(metafile.inputs));
}

// One instance for both module systems: `import` gets the exports of the CommonJS bundle.
function writeEsmWrapper() {
  const names = Object.keys(require(bundlePath)).toSorted();
  writeFileSync(
    join(dist, 'index.mjs'),
    `import ktx from './index.cjs';\nexport const { ${names.join(', ')} } = ktx;\n`,
  );
  writeFileSync(join(dist, 'index.d.mts'), "export * from './index.js';\n");
}

function writeTypes() {
  const typescript = dirname(require.resolve('typescript/package.json'));
  execFileSync(
    process.execPath,
    [join(typescript, 'bin', 'tsc'), '--project', join(root, 'tsconfig.build.json')],
    { stdio: 'inherit' },
  );
  removeUnreachableTypes();
}

// Only what the public types mention is for users, and the rest mentions bundled packages.
function removeUnreachableTypes() {
  const reachable = new Set();
  const visit = (file) => {
    if (reachable.has(file)) return;
    reachable.add(file);
    const text = readFileSync(join(dist, file), 'utf8');
    for (const [, module] of text.matchAll(/from '\.\/([\w-]+)\.js'/g)) visit(`${module}.d.ts`);
  };
  visit('index.d.ts');
  for (const file of readdirSync(dist)) {
    if (file.endsWith('.d.ts') && !reachable.has(file)) rmSync(join(dist, file));
  }
}

function writeLicenses(inputs) {
  const packages = new Map();
  for (const input of inputs) {
    const match = /^(.*node_modules\/((?:@[^/]+\/)?[^/]+))\//.exec(input);
    if (match !== null) packages.set(match[2], resolve(root, match[1]));
  }
  const texts = [...packages].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([id, directory]) => {
    const { version: bundled, license } = JSON.parse(
      readFileSync(join(directory, 'package.json'), 'utf8'),
    );
    const file = readdirSync(directory).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined) throw new Error(`${id} ${bundled} has no licence file`);
    const text = readFileSync(join(directory, file), 'utf8').trim();
    return `${id} ${bundled} (${license})\n\n${text}\n`;
  });
  writeFileSync(join(dist, 'THIRD_PARTY_LICENSES'), texts.join(`\n${'-'.repeat(80)}\n\n`));
}

if (existsSync(dist)) rmSync(dist, { recursive: true });
const inputs = await bundle();
writeEsmWrapper();
writeTypes();
writeLicenses(inputs);
