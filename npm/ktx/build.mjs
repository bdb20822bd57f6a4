// Builds dist/: one bundle that `require`, `import` and the `ktx` file share, what it loads when it is
// needed, the types, and the licences of what is bundled. The name is the release policy's.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundle } from './bundle.mjs';

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, 'dist');
const bundlePath = join(dist, 'index.cjs');
const require = createRequire(import.meta.url);
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const policy = JSON.parse(readFileSync(join(root, '../../release/policy.json'), 'utf8'));
const name = `${policy.scope}/${policy.package}`;

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
const inputs = await bundle({ name, version, dist });
writeEsmWrapper();
writeTypes();
writeLicenses(inputs);
