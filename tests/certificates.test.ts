// Certificate authorities that only this machine knows, for ktx's own download and for uv's.
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missing, withMounts } from './support/system.js';
import { User, temporaryDirectory } from './support/user.js';

const SYSTEM_STORE = '/etc/ssl/certs/ca-certificates.crt';
const noOpenssl =
  spawnSync('openssl', ['version']).status === 0
    ? undefined
    : 'openssl is missing, which makes certificates';
const noStore = existsSync(SYSTEM_STORE) ? undefined : `this system keeps no ${SYSTEM_STORE}`;

const UNSET = [
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'NODE_EXTRA_CA_CERTS',
  'PIP_CERT',
  'REQUESTS_CA_BUNDLE',
];

const directory = temporaryDirectory('certificates-');
const authority = join(directory, 'authority.pem');
const server = createServer((request, response) => {
  asked.push(request.url ?? '');
  response.writeHead(404).end();
});
const asked: string[] = [];
let index: string;

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
}

beforeAll(async () => {
  if (noOpenssl !== undefined) return;
  const request = ['req', '-newkey', 'rsa:2048', '-nodes', '-batch', '-days', '2'];
  const name = 'subjectAltName=IP:127.0.0.1';
  openssl(
    ...request,
    '-x509',
    '-subj',
    '/CN=Our own',
    '-keyout',
    'authority.key',
    '-out',
    authority,
  );
  openssl(
    ...request.slice(0, 5),
    '-subj',
    '/CN=127.0.0.1',
    '-addext',
    name,
    '-keyout',
    'key',
    '-out',
    'csr',
  );
  openssl(
    'x509',
    '-req',
    '-in',
    'csr',
    '-CA',
    authority,
    '-CAkey',
    'authority.key',
    '-CAcreateserial',
    '-copy_extensions',
    'copy',
    '-days',
    '2',
    '-out',
    'certificate',
  );
  server.setSecureContext({
    key: readFileSync(join(directory, 'key')),
    cert: readFileSync(join(directory, 'certificate')),
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  index = `https://127.0.0.1:${(server.address() as AddressInfo).port}/simple`;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

/** A user whose index is the server, and who trusts nothing that is not said here. */
function userOf(seeded: boolean, trusts: Record<string, string>): User {
  const user = new User({ seeded });
  for (const name of UNSET) delete user.env[name];
  if (seeded) rmSync(join(user.root, 'cache'), { recursive: true });
  Object.assign(
    user.env,
    { UV_DEFAULT_INDEX: index, NO_PROXY: '127.0.0.1', no_proxy: '127.0.0.1' },
    trusts,
  );
  asked.length = 0;
  return user;
}

describe.skipIf(noOpenssl)('a private authority', () => {
  const steps: [string, boolean, string][] = [
    ['uv', false, '/simple/uv/'],
    ['packages', true, '/simple/msgpack/'],
  ];

  describe.each(steps)('when %s is fetched', (_name, seeded, path) => {
    test('that is not named is not trusted', async () => {
      const said = await userOf(seeded, {}).failingInstall();
      expect(said).toMatch(/certificate/i);
      expect(said).toMatch(/^Fix: .*SSL_CERT_FILE=/m);
      expect(asked).toEqual([]);
    });

    test.each(['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS', 'PIP_CERT', 'REQUESTS_CA_BUNDLE'])(
      'is trusted when %s names it',
      async (variable) => {
        await userOf(seeded, { [variable]: authority }).failingInstall();
        expect(asked).toContain(path);
      },
    );

    test('is trusted when it lies in SSL_CERT_DIR', async () => {
      const store = temporaryDirectory('store-');
      mkdirSync(store, { recursive: true });
      copyFileSync(authority, join(store, 'authority.pem'));
      execFileSync('openssl', ['rehash', store], { stdio: 'pipe' });
      await userOf(seeded, { SSL_CERT_DIR: store }).failingInstall();
      expect(asked).toContain(path);
    });

    test.skipIf(missing.mount ?? noStore)(
      "is trusted when it is in the system's store",
      async () => {
        const store = join(temporaryDirectory('store-'), 'certificates.crt');
        copyFileSync(SYSTEM_STORE, store);
        appendFileSync(store, readFileSync(authority));
        const through = withMounts(`mount --bind '${store}' '${SYSTEM_STORE}'`);
        await userOf(seeded, {}).failingInstall({ through });
        expect(asked).toContain(path);
      },
    );
  });
});
