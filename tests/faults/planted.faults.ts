// What tries to change which bytes are installed: variables, settings, other indexes, and the files
// of uv's cache.
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { expect } from 'vitest';
import { packageIndex, plantedWheel } from '../support/fakes.js';
import { expectHeals, installation, neighbour } from '../support/invariants.js';
import { generator, pick, seed } from '../support/random.js';
import { amount, fault, isFull } from '../support/rows.js';
import { missing, withoutNetwork } from '../support/system.js';
import {
  User,
  eachOf,
  fingerprint,
  keptUv,
  run,
  suite,
  temporaryDirectory,
} from '../support/user.js';

const uv = keptUv(suite.seed);

/** Every variable that the pinned uv names, and those that its help explains. */
function variables(): { all: string[]; explained: string[] } {
  const texts: string[] = [];
  const visit = (words: string[]): void => {
    const text = execFileSync(uv, [...words, '--help'], { encoding: 'utf8', env: {} });
    texts.push(text);
    const commands = /^Commands:\n((?: {2}.*\n| {4,}.*\n)+)/m.exec(text)?.[1] ?? '';
    for (const [, command = ''] of commands.matchAll(/^ {2}([a-z-]+)(?: |$)/gm)) {
      if (command !== 'help') visit([...words, command]);
    }
  };
  visit([]);
  const explained = [...texts.join('').matchAll(/\[env: (UV_[A-Z_0-9]+)/g)].map(([, name]) => name);
  // Texts lie in the program without anything between them.
  const named = readFileSync(uv, 'latin1').match(/UV_[A-Z_0-9]*?[A-Z0-9](?=UV_|[^A-Z_0-9]|$)/g);
  const unique = (names: (string | undefined)[]) => [...new Set(names)] as string[];
  return { explained: unique(explained), all: unique([...explained, ...(named ?? [])]) };
}

/** ktx hands these on: they say which index is used. */
const INDEXES = ['UV_DEFAULT_INDEX', 'UV_INDEX_URL'];

fault(
  {
    area: 'uv',
    name: 'uv-variables',
    fault:
      'each variable that the pinned uv knows, alone and with others, set to something hostile',
    required: 'what is installed is the same as without them, and nothing else is written',
  },
  async () => {
    const { all, explained } = variables();
    expect(explained.length).toBeGreaterThan(50);
    expect(all.length).toBeGreaterThan(120);
    expect(explained).toEqual(
      expect.arrayContaining(['UV_EXTRA_INDEX_URL', 'UV_CACHE_DIR', 'UV_PYTHON', 'UV_LINK_MODE']),
    );
    const names = all.filter((name) => !INDEXES.includes(name));
    const folder = temporaryDirectory('hostile-');
    const witness = join(folder, 'witness');
    await plantedWheel(folder, witness);
    const program = join(folder, 'program');
    writeFileSync(program, `#!/bin/sh\n: > '${witness}'\n`, { mode: 0o755 });
    writeFileSync(join(folder, 'list'), 'msgpack==99.0\n');
    const hostile = [
      ...'1 0 true no -1 99999999999999999999 --help 2.7 symlink never only-managed highest'.split(
        ' ',
      ),
      'garbage ;\n"',
      'https://a:b@127.0.0.1:9/simple',
      folder,
      program,
      join(folder, 'list'),
      join(folder, 'new'),
      '/nonexistent/a',
      '/dev/null',
      'x'.repeat(10_000),
    ];
    const before = fingerprint(folder);
    const clean = neighbour();
    await clean.user.install();
    const expected = installation(clean.user);
    const random = generator(seed);
    const together = Array.from({ length: amount(6, 40) }, (_, index) =>
      index === 0 ? names : names.filter(() => random(3) === 0),
    );
    const alone = isFull ? names.map((name) => [name]) : [];
    const sets = [...together, ...alone];
    await eachOf([...sets.entries()], async ([number, chosen]) => {
      const values = generator(seed + number);
      const env = Object.fromEntries(chosen.map((name) => [name, pick(hostile, values)]));
      const { user, expectUntouched } = neighbour();
      await user.install([], { env, cwd: folder });
      expect(installation(user), `seed ${seed}, set ${number}`).toEqual(expected);
      expectUntouched();
      if (chosen.length === 1) return;
      await user.expectRuns({ env });
      await expectHeals(user);
    });
    expect(existsSync(witness)).toBe(false);
    expect(fingerprint(folder)).toBe(before);
    return {
      times: sets.length,
      seen: `${names.length} variables (${explained.length} in the help) in ${together.length} mixtures, ${alone.length} alone: ${sets.length} installations like the clean one`,
    };
  },
);

/** A way to name an index: variables, a working directory, or a home with settings. */
interface Way {
  env?: Record<string, string>;
  cwd?: string;
  home?: boolean;
}

fault(
  {
    area: 'uv',
    name: 'planted-packages',
    fault: 'a higher version whose `.pth` runs code, on an index that variables and settings name',
    required: 'it is never installed, though uv by itself installs it; wrong bytes are refused',
  },
  async () => {
    const folder = temporaryDirectory('planted-');
    const witness = join(folder, 'witness');
    const wheels = [
      await plantedWheel(folder, witness),
      await plantedWheel(folder, witness, '1.2.4'),
    ];
    let asked = 0;
    const index = await packageIndex((request, response) => {
      asked += 1;
      const wheel = wheels.find((path) => request.url?.endsWith(basename(path)));
      if (wheel !== undefined) response.end(readFileSync(wheel));
      else if (request.url !== '/simple/msgpack/') response.writeHead(404).end();
      else {
        const links = wheels.map(
          (path) => `<a href="/files/${basename(path)}">${basename(path)}</a>`,
        );
        response.setHeader('content-type', 'text/html').end(links.join('\n'));
      }
    });
    const direct = { NO_PROXY: '127.0.0.1', no_proxy: '127.0.0.1' };
    const pip = join(folder, 'pip.conf');
    writeFileSync(pip, `[global]\nextra-index-url = ${index}\nfind-links = ${folder}\n`);
    const settings = `extra-index-url = ["${index}"]\n`;
    const toml = join(folder, 'uv.toml');
    writeFileSync(toml, settings);
    writeFileSync(
      join(folder, 'pyproject.toml'),
      `[project]\nname = "x"\nversion = "1"\n[tool.uv]\n${settings}`,
    );
    const variable = (name: string, value = index) => ({ env: { [name]: value } });
    const sampled = (_way: Way, index: number): boolean => isFull || index % 3 === 0;
    const uvWays: Way[] = [
      variable('UV_EXTRA_INDEX_URL'),
      variable('UV_INDEX'),
      variable('UV_INDEX', `other=${index}`),
      variable('UV_FIND_LINKS', folder),
      variable('UV_CONFIG_FILE', toml),
      { cwd: folder },
      { home: true },
    ].filter(sampled);
    const pipWays: Way[] = [
      variable('PIP_EXTRA_INDEX_URL'),
      variable('PIP_FIND_LINKS', folder),
      variable('PIP_CONFIG_FILE', pip),
    ].filter(sampled);
    const home = temporaryDirectory('home-');
    for (const [name, from] of [
      ['uv/uv.toml', toml],
      ['pip/pip.conf', pip],
    ] as const) {
      mkdirSync(dirname(join(home, '.config', name)), { recursive: true });
      writeFileSync(join(home, '.config', name), readFileSync(from));
    }
    let tricked = 0;
    const options = ({ env, cwd }: Way) => ({ env: { ...direct, ...env }, cwd: cwd ?? home });
    const settled = (way: Way) => (way.home === true ? home : '/');
    for (const way of uvWays) {
      tricked += await tricksUv(witness, { ...options(way), home: settled(way) });
    }
    expect(tricked).toBe(uvWays.length);
    const ways = [...uvWays, ...pipWays];
    await eachOf(ways, async (way) => {
      const root = join(temporaryDirectory('place-'), 'root');
      const user = new User(way.home === true ? { home, root } : { root });
      rmSync(join(user.root, 'cache'), { recursive: true });
      await user.install([], options(way));
      await user.expectRuns(options(way));
      expect(existsSync(witness)).toBe(false);
      expect(user.log).not.toContain('99.0');
      await expectHeals(user);
    });
    const before = asked;
    for (const name of INDEXES) {
      const user = new User();
      rmSync(join(user.root, 'cache'), { recursive: true });
      const said = await user.failingInstall({
        env: { ...direct, ...without(INDEXES), [name]: index },
      });
      expect(said).toMatch(/[Hh]ash mismatch/);
      expect(said).not.toMatch(/out of reach|HTTPS_PROXY/);
      await expectHeals(user);
    }
    expect(asked).toBeGreaterThan(before);
    expect(existsSync(witness)).toBe(false);
    return {
      times: ways.length + INDEXES.length,
      seen: `uv alone installed it in ${tricked} of ${uvWays.length} ways, ktx in 0 of ${ways.length}; ${INDEXES.length} indexes with other bytes refused`,
    };
  },
);

/** Whether uv, called as anybody would, installs what then runs. */
async function tricksUv(
  witness: string,
  { home, cwd, env }: { home: string; cwd: string; env: Record<string, string> },
): Promise<number> {
  const venv = join(temporaryDirectory('plain-'), 'venv');
  const options = {
    cwd,
    env: { ...suite.network, PATH: suite.path, HOME: home, UV_CACHE_DIR: `${venv}-cache`, ...env },
  };
  await run(uv, ['venv', '--no-project', venv], options);
  await run(uv, ['pip', 'install', '--python', join(venv, 'bin/python'), 'msgpack'], options);
  await run(join(venv, 'bin/python'), ['-I', '-c', ''], options);
  const runs = existsSync(witness);
  rmSync(witness, { force: true });
  return Number(runs);
}

function without(names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, '']));
}

fault(
  {
    area: 'uv',
    name: 'poisoned-cache',
    fault: "the files of uv's cache changed, cut, emptied, zeroed, removed or added to",
    required: 'what is installed is right, in the same command; without a network, nothing is',
    missing: missing.network,
  },
  async () => {
    const clean = new User();
    await clean.install();
    const { files: expected } = installation(clean) as { files: unknown };
    const witness = join(temporaryDirectory('poison-'), 'witness');
    const payload = `open(${JSON.stringify(witness)}, 'w')`;
    const cache = join(suite.seed, 'cache');
    const files = readdirSync(cache, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(cache, join(entry.parentPath, entry.name)))
      .toSorted();
    const archived = (end: string) => {
      const found = files.find((file) => file.startsWith('archive-') && file.endsWith(end));
      if (found === undefined) throw new Error(`uv's cache holds no ${end}`);
      return found;
    };
    const random = generator(seed);
    const code = archived('msgpack/__init__.py');
    const poisons: [string, (path: string) => void][] = [
      // As long as what was there, so that no size shows it.
      [code, (path) => overwrite(path, `${payload}\n`)],
      [
        code,
        (path) => writeFileSync(join(dirname(path), '../evil.pth'), `import os; ${payload}\n`),
      ],
      [code, (path) => writeFileSync(join(dirname(path), '../sitecustomize.py'), payload)],
      [archived('msgpack/fallback.py'), (path) => overwrite(path, '\0'.repeat(1000))],
      [archived('.dist-info/RECORD'), (path) => truncateSync(path)],
      [archived('.dist-info/RECORD'), (path) => rmSync(path)],
      [code, (path) => rmSync(join(dirname(path), '..'), { recursive: true })],
    ];
    const damages = [
      (path: string) => truncateSync(path, random(readFileSync(path).length + 1)),
      (path: string) => overwrite(path, '\0'.repeat(1 + random(5000))),
      (path: string) => overwrite(path, String.fromCharCode(random(256)), random),
      (path: string) => appendFileSync(path, 'x'.repeat(1 + random(1000))),
      (path: string) => rmSync(path),
    ];
    for (let index = 0; index < amount(6, 60); index += 1) {
      poisons.push([pick(files, random), pick(damages, random)]);
    }
    let anew = 0;
    await eachOf([...poisons.entries()], async ([number, [file, poison]]) => {
      const { user, expectUntouched } = neighbour();
      const path = join(user.root, 'cache', file);
      poison(path);
      const done = await user.ktx(['runtime', 'install', '--yes']);
      const label = `seed ${seed}, poison ${number} of ${file}`;
      expect(done, `${label}: ${done.stderr}`).toMatchObject({ code: 0, stderr: '' });
      expect((installation(user) as { files: unknown }).files, label).toEqual(expected);
      anew += Number(user.log.includes('beginning again'));
      expect(existsSync(witness), label).toBe(false);
      await user.expectRuns();
      expectUntouched();
      await expectHeals(user);
    });
    expect(anew).toBeGreaterThan(4);
    const [file, poison] = poisons[0] as (typeof poisons)[0];
    const user = new User();
    poison(join(user.root, 'cache', file));
    expect(await user.failingInstall({ through: withoutNetwork })).toMatch(/^Fix: /m);
    expect((await user.status()).kind).toBe('missing');
    await expectHeals(user);
    expect(existsSync(witness)).toBe(false);
    return {
      times: poisons.length + 1,
      seen: `${poisons.length} installations with the right bytes, ${anew} of them begun again without the cache; none without a network`,
    };
  },
);

/** Writes over the middle of a file without changing its length. */
function overwrite(path: string, text: string, random?: (below: number) => number): void {
  const bytes = readFileSync(path);
  const at = random === undefined ? 0 : random(Math.max(1, bytes.length));
  bytes.write(text, at, 'latin1');
  writeFileSync(path, bytes);
}
