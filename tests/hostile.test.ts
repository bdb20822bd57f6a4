// Environments and working directories that try to change what is installed or run.
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { plantedWheel } from './support/fakes.js';
import { installation } from './support/invariants.js';
import { User, suite, temporaryDirectory, userWithEmptyCache } from './support/user.js';

const HERE =
  'import msgpack, sys, os; print(msgpack.version, sys.prefix, sys.flags.isolated, sorted(map(os.path.basename, sys.path)))';

let clean: User;
let cleanResult: unknown;
let cleanRun: string;

async function exec(user: User, options: Parameters<User['ktx']>[1]): Promise<string> {
  const done = await user.ktx(['exec', '-c', HERE], options);
  expect(done).toMatchObject({ code: 0, stderr: '' });
  return done.stdout.replaceAll(user.home, '~');
}

beforeAll(async () => {
  clean = userWithEmptyCache();
  await clean.install();
  // What runs later leaves compiled modules behind.
  cleanResult = installation(clean);
  cleanRun = await exec(clean, {});
});

describe('variables', () => {
  let env: Record<string, string>;
  let witness: string;

  beforeAll(async () => {
    const folder = temporaryDirectory('hostile-');
    witness = join(folder, 'witness');
    await plantedWheel(folder, witness);
    const program = join(folder, 'program');
    writeFileSync(program, `#!/bin/sh\n: > '${witness}'\n`, { mode: 0o755 });
    const text = join(folder, 'constraints.txt');
    writeFileSync(text, 'msgpack==99.0\n');
    const modules = join(folder, 'modules');
    mkdirSync(modules);
    for (const name of ['msgpack', 'sitecustomize', 'json', 'ktx_daemon']) {
      writeFileSync(join(modules, `${name}.py`), `open(${JSON.stringify(witness)}, 'w')\n`);
    }
    const nowhere = 'http://127.0.0.1:9/simple';
    env = {
      UV_INDEX: nowhere,
      UV_EXTRA_INDEX_URL: nowhere,
      UV_FIND_LINKS: folder,
      UV_NO_CONFIG: '0',
      UV_CONFIG_FILE: join(folder, 'missing.toml'),
      UV_CONSTRAINT: text,
      UV_OVERRIDE: text,
      UV_TARGET: join(folder, 'target'),
      UV_CACHE_DIR: join(folder, 'cache'),
      UV_PYTHON: '2.7',
      UV_PYTHON_PREFERENCE: 'only-managed',
      UV_SYSTEM_PYTHON: '1',
      UV_OFFLINE: '1',
      UV_EXCLUDE_NEWER: '1999-01-01',
      UV_REQUIRE_HASHES: '0',
      UV_NO_VERIFY_HASHES: '1',
      UV_LINK_MODE: 'symlink',
      UV_PROJECT_ENVIRONMENT: join(folder, 'project'),
      PIP_FIND_LINKS: folder,
      PIP_EXTRA_INDEX_URL: nowhere,
      PIP_TARGET: join(folder, 'target'),
      PIP_CONSTRAINT: text,
      PIP_USER: '1',
      PYTHONEXECUTABLE: program,
      PYTHONHOME: folder,
      PYTHONPATH: modules,
      PYTHONSTARTUP: program,
      PYTHONUSERBASE: folder,
      PYTHONOPTIMIZE: '2',
      PYTHONSAFEPATH: '',
      PYTHONWARNINGS: 'error',
      PYTHONDONTWRITEBYTECODE: '1',
      VIRTUAL_ENV: folder,
      CONDA_PREFIX: folder,
      CONDA_DEFAULT_ENV: 'base',
    };
  });

  test('change nothing of what is installed', async () => {
    const user = userWithEmptyCache();
    await user.install([], { env });
    expect(installation(user)).toEqual(cleanResult);
    expect(existsSync(witness)).toBe(false);
    expect(await user.status({ env })).toMatchObject({ kind: 'ready' });
    const doctor = await user.ktx(['runtime', 'doctor'], { env });
    expect(doctor.stdout.match(/^PASS/gm)).toHaveLength(3);
  });

  test('change nothing of what runs', async () => {
    expect(await exec(clean, { env })).toBe(cleanRun);
    expect(existsSync(witness)).toBe(false);
  });
});

describe('working directories and homes', () => {
  let cwd: string;
  let witness: string;

  beforeAll(() => {
    cwd = temporaryDirectory('cwd-');
    witness = join(cwd, 'witness');
    plantSettings(cwd, witness);
  });

  test('change nothing of what is installed', async () => {
    const user = userWithEmptyCache();
    mkdirSync(join(user.home, '.config/uv'), { recursive: true });
    mkdirSync(join(user.home, '.config/pip'), { recursive: true });
    writeFileSync(join(user.home, '.config/uv/uv.toml'), readFileSync(join(cwd, 'uv.toml')));
    writeFileSync(join(user.home, '.config/pip/pip.conf'), '[global]\nno-index = true\n');
    plantSettings(user.home, witness);
    const before = readdirSync(cwd, { recursive: true });
    await user.install([], { cwd });
    expect(installation(user)).toEqual(cleanResult);
    expect(existsSync(witness)).toBe(false);
    expect(readdirSync(cwd, { recursive: true })).toEqual(before);
  });

  test('change nothing of what runs', async () => {
    expect(await exec(clean, { cwd })).toBe(cleanRun);
    expect(existsSync(witness)).toBe(false);
  });

  test('may be gone', async () => {
    const user = new User();
    const gone = ['/bin/sh', '-c', 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', 'sh'];
    const env = { PATH: `${suite.path}:/usr/bin:/bin` };
    expect(await user.ktx(['runtime', 'status'], { through: gone, env })).toMatchObject({
      code: 0,
    });
    expect(await user.ktx(['runtime', 'install', '--yes'], { through: gone, env })).toMatchObject({
      code: 0,
    });
    await user.expectRuns();
  });
});

function plantSettings(folder: string, witness: string): void {
  const bin = join(folder, '.venv/bin');
  mkdirSync(bin, { recursive: true });
  for (const name of ['python', 'python3']) {
    writeFileSync(join(bin, name), `#!/bin/sh\n: > '${witness}'\n`, { mode: 0o755 });
  }
  writeFileSync(join(folder, '.venv/pyvenv.cfg'), 'home = /nowhere\n');
  const index = '[[index]]\nname = "nowhere"\nurl = "http://127.0.0.1:9/simple"\ndefault = true\n';
  writeFileSync(join(folder, 'uv.toml'), `offline = true\n${index}`);
  const project = '[project]\nname = "x"\nversion = "1"\nrequires-python = "==2.7.*"\n';
  const projectIndex = index.replace('[[index]]', '[[tool.uv.index]]');
  writeFileSync(
    join(folder, 'pyproject.toml'),
    `${project}[tool.uv]\noffline = true\n${projectIndex}`,
  );
  writeFileSync(join(folder, '.python-version'), '2.7\n');
  for (const name of ['msgpack', 'json', 'ktx_daemon', 'sitecustomize', 'encodings']) {
    writeFileSync(join(folder, `${name}.py`), `open(${JSON.stringify(witness)}, 'w')\n`);
  }
}
