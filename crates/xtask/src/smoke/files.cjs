// Prints what is installed: the version of each package, and a digest of every file as programs see
// it. Takes the names of the root package and of the platform's.
const { createHash } = require('node:crypto');
const { readFileSync, readdirSync } = require('node:fs');
const { createRequire } = require('node:module');
const { dirname, join } = require('node:path');

// What package managers keep inside of packages.
const NOT_OURS = ['node_modules', '.ready'];

function* filesOf(dir, prefix = '') {
  for (const entry of readdirSync(join(dir, prefix), { withFileTypes: true })) {
    if (NOT_OURS.includes(entry.name)) continue;
    const name = prefix + entry.name;
    if (entry.isDirectory()) yield* filesOf(dir, `${name}/`);
    else yield [name, createHash('sha256').update(readFileSync(join(dir, name))).digest('hex')];
  }
}

const [rootName, platformName] = process.argv.slice(2);
const rootManifest = require.resolve(`${rootName}/package.json`);
const platformManifest = createRequire(rootManifest).resolve(`${platformName}/package.json`);
const versions = {};
const files = {};
for (const path of [rootManifest, platformManifest]) {
  const { name, version } = JSON.parse(readFileSync(path, 'utf8'));
  versions[name] = version;
  for (const [file, digest] of filesOf(dirname(path))) files[`${name}/${file}`] = digest;
}
console.log(JSON.stringify({ versions, files }));
