// Networks that are not there, and proxies and indexes that do anything but answer.
import { rmSync } from 'node:fs';
import { type AddressInfo, type Server, type Socket, createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { type Neighbour, expectHeals, neighbour } from '../support/invariants.js';
import { amount, fault, isFull } from '../support/rows.js';
import { missing, withoutNetwork } from '../support/system.js';
import { eachOf } from '../support/user.js';

/** What ktx may take for a network that answers nothing, with room for a busy machine. */
const BOUND_MS = 45_000;

/** What is there already: nothing, ktx's uv, or uv and the packages. */
const STAGES = ['nothing', 'uv', 'packages'] as const;
type Stage = (typeof STAGES)[number];

function userAt(stage: Stage, env: Record<string, string> = {}): Neighbour {
  const place = neighbour({ seeded: stage !== 'nothing', env });
  if (stage === 'uv') rmSync(join(place.user.root, 'cache'), { recursive: true });
  return place;
}

fault(
  {
    area: 'uv',
    name: 'no-network-at-each-stage',
    fault: 'no network, or loopback alone, with nothing fetched, with uv fetched, with everything',
    required:
      'with everything, works; else ends soon, names the host and the way without a network',
    missing: missing.network,
  },
  async () => {
    // A machine whose proxy is gone, beside one that has no network at all.
    const closed = 'http://127.0.0.1:9';
    const networks: Record<string, string>[] = [
      {},
      { HTTPS_PROXY: closed, https_proxy: closed, NO_PROXY: '', no_proxy: '' },
      { UV_DEFAULT_INDEX: 'http://127.0.0.1:9/simple' },
      { UV_DEFAULT_INDEX: 'https://packages.invalid/simple' },
    ].slice(0, amount(2, 4));
    const cases = networks.flatMap((env) => STAGES.map((stage) => ({ env, stage })));
    let slowest = 0;
    await eachOf(
      cases,
      async ({ env, stage }) => {
        const { user, expectUntouched } = userAt(stage);
        const options = { env, through: withoutNetwork };
        const begun = performance.now();
        const done = await user.ktx(['runtime', 'install', '--yes'], options);
        slowest = Math.max(slowest, performance.now() - begun);
        const label = `${stage} ${JSON.stringify(env)}: ${done.stderr}`;
        const ownIndex = env['UV_DEFAULT_INDEX'] !== undefined;
        if (stage === 'packages' && !ownIndex) {
          expect(done, label).toMatchObject({ code: 0, stderr: '' });
          await user.expectRuns(options);
        } else {
          expect(done, label).toMatchObject({ code: 1, stdout: '' });
          expect(done.stderr, label).toMatch(
            /https?:\/\/|127\.0\.0\.1|pypi\.org|packages\.invalid/,
          );
          expect(done.stderr, label).toMatch(
            stage === 'nothing' ? /KTX_UV=/ : /^Fix: .*UV_DEFAULT_INDEX=/m,
          );
          expect(done.stderr, label).not.toMatch(/[Cc]hecksum|hash mismatch/);
          expect((await user.status(options)).kind, label).toBe('missing');
        }
        expectUntouched();
        await expectHeals(user);
      },
      4,
    );
    expect(slowest).toBeLessThan(BOUND_MS);
    return {
      times: cases.length,
      seen: `${cases.length} installations, the slowest ended after ${seconds(slowest)}`,
    };
  },
);

/** What a server does with a connection once it was asked something. */
type Answer = (socket: Socket, asked: string) => void;

const head = (...lines: string[]) => ['HTTP/1.1 200 OK', ...lines, '', ''].join('\r\n');
const LOGIN =
  '<!doctype html><html><body><form>Please log in<input type=password></form></body></html>';

const ANSWERS: Record<string, Answer> = {
  'stalls at once': () => {},
  'stalls in the body': (socket) =>
    socket.write(`${head('content-type: text/html', 'content-length: 9000')}<a`),
  resets: (socket) => socket.resetAndDestroy(),
  'closes without a word': (socket) => socket.end(),
  truncates: (socket) => socket.end(`${head('content-type: text/html', 'content-length: 9000')}<a`),
  'redirects for ever': (socket, asked) => {
    const host = /^host: *(\S+)/im.exec(asked)?.[1] ?? '';
    const to = `location: http://${host}/${Math.random()}`;
    socket.end(`HTTP/1.1 302 Found\r\n${to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
  },
  'shows a login page': (socket) =>
    socket.end(
      `${head('content-type: text/html', `content-length: ${LOGIN.length}`, 'connection: close')}${LOGIN}`,
    ),
  'answers 407': (socket) =>
    socket.end(
      'HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm="x"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n',
    ),
  'answers 403': (socket) =>
    socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'),
  'talks nonsense': (socket) => socket.end('220 mail.example ESMTP\r\n'),
  'answers a byte a second': (socket) => {
    socket.write(head('content-type: text/html', 'content-length: 9000'));
    const drip = setInterval(() => socket.write('<'), 1000);
    socket.on('close', () => clearInterval(drip));
  },
};

/** Takes as long as ktx waits. */
const SLOW = /stalls|second/;

/** uv takes a byte a second for progress; only the end of all patience with it ends this. */
const ENDLESS_FOR_UV = 'answers a byte a second';

/** Serves on loopback until the test ends; gives the address. */
async function server(answer: Answer): Promise<string> {
  const sockets = new Set<Socket>();
  const listening: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}).on('close', () => sockets.delete(socket)));
    socket.once('data', (asked) => answer(socket, asked.toString('latin1')));
  });
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    listening.close();
  });
  return `http://127.0.0.1:${(listening.address() as AddressInfo).port}`;
}

/** How a user reaches the server: as a proxy for one of two kinds of address, or as the index. */
const ROLES: Record<string, (address: string) => Record<string, string>> = {
  HTTPS_PROXY: (address) => proxied('https', { HTTPS_PROXY: address, https_proxy: address }),
  ALL_PROXY: (address) => proxied('https', { ALL_PROXY: address, all_proxy: address }),
  HTTP_PROXY: (address) => proxied('http', { HTTP_PROXY: address, http_proxy: address }),
  'the index': (address) => ({
    ...NO_PROXIES,
    UV_DEFAULT_INDEX: `${address}/simple`,
  }),
};

const NO_PROXIES = Object.fromEntries(
  ['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY', 'NO_PROXY'].flatMap((name) => [
    [name, ''],
    [name.toLowerCase(), ''],
  ]),
);

function proxied(scheme: string, variables: Record<string, string>): Record<string, string> {
  return { ...NO_PROXIES, UV_DEFAULT_INDEX: `${scheme}://packages.invalid/simple`, ...variables };
}

fault(
  {
    area: 'uv',
    name: 'bad-proxies',
    fault: `a proxy, or an index, that ${Object.keys(ANSWERS).join(', ')}`,
    required: 'ends within about 30 s, names the host and the way out, and is no checksum failure',
  },
  async () => {
    const cases = Object.keys(ANSWERS)
      .flatMap((name) => Object.keys(ROLES).map((role) => ({ name, role })))
      .flatMap((way) => (['nothing', 'uv'] as const).map((stage) => ({ ...way, stage })))
      .filter(({ name, stage }) => name !== ENDLESS_FOR_UV || stage === 'nothing')
      .filter(({ name }, index) => isFull || (index % 5 === 2 && !SLOW.test(name)));
    let slowest = 0;
    let slowestIs = '';
    await eachOf(
      cases,
      async ({ name, role, stage }) => {
        const address = await server(ANSWERS[name] as Answer);
        const { user, expectUntouched } = userAt(stage);
        const env = (ROLES[role] as (address: string) => Record<string, string>)(address);
        const begun = performance.now();
        const done = await user.ktx(['runtime', 'install', '--yes'], { env });
        const took = performance.now() - begun;
        if (took > slowest) [slowest, slowestIs] = [took, `${role} that ${name}, with ${stage}`];
        const label = `${role} that ${name}, with ${stage}, ${seconds(took)}: ${done.stderr}`;
        expect(done, label).toMatchObject({ code: 1, stdout: '' });
        expect(took, label).toBeLessThan(BOUND_MS);
        expect(done.stderr, label).toMatch(/packages\.invalid|127\.0\.0\.1:\d+/);
        expect(done.stderr, label).toMatch(/^Fix: /m);
        expect(done.stderr, label).toMatch(stage === 'nothing' ? /KTX_UV=/ : /UV_DEFAULT_INDEX=/);
        expect(done.stderr, label).not.toMatch(/[Cc]hecksum|hash mismatch/);
        expect((await user.status({ env })).kind, label).toBe('missing');
        expectUntouched();
        await expectHeals(user);
      },
      16,
    );
    return {
      times: cases.length,
      seen: `${cases.length} installations refused, the slowest after ${seconds(slowest)} (${slowestIs})`,
    };
  },
);

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
