// Serves packages on a port of the loopback interface that the system chooses, and ends with
// whoever started it: its standard input, which begins with one line of settings, stays open as
// long as it is wanted.

const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');
const { randomBytes } = require('node:crypto');

// It is installed elsewhere, where this is started.
const { runServer } = require(require.resolve('verdaccio', { paths: [process.cwd()] }));

readline.createInterface({ input: process.stdin }).once('line', (line) => {
  start(JSON.parse(line)).catch((error) => {
    console.error(error);
    process.exitCode = 1;
    process.stdin.destroy();
  });
});
process.stdin.once('end', () => process.exit());

async function start({ dir, own, uplink }) {
  const usersPath = path.join(dir, 'htpasswd');
  // Each run has a user of its own, whose password is nowhere, and a log of its own.
  for (const file of [usersPath, path.join(dir, 'log')]) fs.rmSync(file, { force: true });
  const server = await runServer(configuration({ dir, own, uplink, usersPath }));
  // An upload can take longer than Node allows a request by default.
  server.requestTimeout = 0;
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const host = `127.0.0.1:${server.address().port}`;
  const token = await addUser(`http://${host}`);
  writePrivately(
    path.join(dir, 'npmrc'),
    `registry=http://${host}/\n//${host}/:_authToken=${token}\n`,
  );
  console.log(JSON.stringify({ url: `http://${host}/` }));
}

function configuration({ dir, own, uplink, usersPath }) {
  return {
    self_path: path.join(dir, 'config.yaml'),
    storage: path.join(dir, 'storage'),
    auth: { htpasswd: { file: usersPath, max_users: 1, algorithm: 'bcrypt' } },
    security: { api: { jwt: { sign: { expiresIn: '1d' } } } },
    uplinks: { machine: { url: uplink, timeout: '30s', maxage: '10m' } },
    packages: {
      [own]: { access: '$all', publish: '$authenticated' },
      '**': { access: '$all', proxy: 'machine' },
    },
    server: { keepAliveTimeout: 60 },
    max_body_size: '200mb',
    web: { enable: false },
    logs: { type: 'file', path: path.join(dir, 'log'), format: 'json', level: 'http' },
  };
}

async function addUser(url) {
  const name = 'publisher';
  const response = await fetch(`${url}/-/user/org.couchdb.user:${name}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name, password: randomBytes(16).toString('hex') }),
  });
  if (!response.ok) throw new Error(`No user: ${response.status} ${await response.text()}`);
  return (await response.json()).token;
}

function writePrivately(file, text) {
  const next = `${file}.next`;
  fs.rmSync(next, { force: true });
  fs.writeFileSync(next, text, { mode: 0o600 });
  fs.renameSync(next, file);
}
