// What the commands say to people and to scripts, with a terminal and without.
import { spawnSync } from 'node:child_process';
import { beforeAll, describe, expect, test } from 'vitest';
import { User, VERSION, keptUv, suite } from './support/user.js';

const SCRIPT = '/usr/bin/script';
const noTerminal =
  spawnSync(SCRIPT, ['-qec', 'true', '/dev/null']).status === 0 ? undefined : 'script is missing';

/** Runs a command on a terminal; what it writes comes with colours and both streams together. */
const onTerminal = [
  '/bin/sh',
  '-c',
  `cmd=; for a; do cmd="$cmd '$a'"; done; exec ${SCRIPT} -qec "$cmd" /dev/null`,
  'sh',
];
const COLOR = /^[\d;]*m/;
const sequencesOf = (output: string): string[] => output.split('\u001B[').slice(1);
const TERMINAL = { TERM: 'xterm-256color', SHELL: '/bin/sh' };

describe('without a runtime', () => {
  test.each([[], ['--no-input']])('exec stops with the command to run (%j)', async (...flags) => {
    const user = new User();
    const done = await user.ktx(['exec', ...flags.flat(), '-c', 'print(1)']);
    expect(done).toEqual({
      code: 1,
      signal: null,
      stdout: '',
      stderr: `The Python runtime is missing: No runtime manifest at ${user.manifestPath}\nFix: Run: ktx runtime install --yes\n`,
    });
    expect(user.entries()).toEqual([]);
  });

  test('exec --yes installs it, and stdout has nothing but the output of the code', async () => {
    const user = new User();
    expect(await user.ktx(['exec', '--yes', '-c', 'print(6*7)'])).toMatchObject({
      code: 0,
      stdout: '42\n',
    });
  });

  test.skipIf(noTerminal)('exec asks on a terminal, and does what the answer says', async () => {
    const user = new User();
    const answer = (stdin: string) =>
      user.ktx(['exec', '-c', 'print(6*7)'], {
        through: onTerminal,
        env: TERMINAL,
        stdin,
        stdinAfter: 'Install it now?',
      });
    const refused = await answer('n');
    expect(refused.code).toBe(1);
    expect(refused.stdout).toContain('Fix: Run: ktx runtime install --yes');
    // Ctrl-C in a terminal whose keys are read one by one.
    expect((await answer('\u0003')).code).toBe(130);
    expect(user.entries()).toEqual([]);
    const agreed = await answer('y');
    expect(agreed.code).toBe(0);
    expect(agreed.stdout).toMatch(/^42\r?$/m);
  });

  test.skipIf(noTerminal).each([{ CI: 'true' }, { TERM: 'dumb' }])(
    'exec asks nobody on a terminal with %j',
    async (env) => {
      const user = new User();
      const done = await user.ktx(['exec', '-c', 'print(6*7)'], {
        through: onTerminal,
        env: { ...TERMINAL, ...env },
      });
      expect(done.code).toBe(1);
      expect(done.stdout).toContain('Fix: Run: ktx runtime install --yes');
      expect(done.stdout).not.toContain('Install it now?');
    },
  );

  test.skipIf(noTerminal)('a terminal sees every step, a pipe and CI see none', async () => {
    const args = ['runtime', 'install', '--yes', '--force'];
    const user = new User();
    const seen = await user.ktx(args, { through: onTerminal, env: TERMINAL });
    expect(seen.code).toBe(0);
    for (const step of ['uv', 'python', 'venv', 'packages', 'probe'])
      expect(seen.stdout.toLowerCase()).toContain(step);
    expect(await user.ktx(args)).toMatchObject({ code: 0, stderr: '' });
    const watched = await user.ktx(args, { through: onTerminal, env: { ...TERMINAL, CI: 'true' } });
    expect(watched.code).toBe(0);
    // What moves a cursor is for somebody who looks.
    const moves = sequencesOf(watched.stdout).filter((sequence) => !COLOR.test(sequence));
    expect(moves).toEqual([]);
    const plain = await user.ktx(args, {
      through: onTerminal,
      env: { ...TERMINAL, NO_COLOR: '1' },
    });
    expect(sequencesOf(plain.stdout).filter((sequence) => COLOR.test(sequence))).toEqual([]);
  });
});

describe('usage', () => {
  let user: User;

  beforeAll(() => {
    user = new User({ seeded: false });
  });

  test.each([
    ['runtime', 'install', '--yes', '--no-input'],
    ['exec', '--yes', '--no-input', '-c', '1'],
    ['runtime', 'install', '--feature', 'everything'],
    ['runtime', 'nonsense'],
    ['nonsense'],
    ['exec', '-c', '1', 'file.py'],
    ['exec', '-c', ''],
    ['exec', '--timeout', '-1', '-c', '1'],
    ['exec', 'missing.py'],
    ['completion', 'tcsh'],
  ])('`ktx %s %s %s %s` is wrong, says why and exits 2', async (...args) => {
    const done = await user.ktx(args.filter((arg) => arg !== undefined));
    expect(done).toMatchObject({ code: 2, stdout: '' });
    expect(done.stderr).not.toBe('');
  });

  test('help has examples, on stdout', async () => {
    for (const args of [[], ['runtime', 'install'], ['exec'], ['completion']]) {
      const help = await user.ktx([...args, '--help']);
      expect(help).toMatchObject({ code: 0, stderr: '' });
      expect(help.stdout).toContain('Examples:\n');
    }
    expect(await user.ktx(['--version'])).toMatchObject({ code: 0, stdout: `${VERSION}\n` });
  });

  test('completion scripts are for the shells that are named', async () => {
    for (const shell of ['bash', 'zsh', 'fish', 'powershell']) {
      const done = await user.ktx(['completion', shell]);
      expect(done).toMatchObject({ code: 0, stderr: '' });
      expect(done.stdout).toContain('runtime');
    }
    const bash = await user.ktx(['completion', 'bash']);
    expect(spawnSync('bash', ['-n'], { input: bash.stdout }).status).toBe(0);
  });
});

test(
  'local-embeddings is installed on top, keeps core working and is remembered',
  { timeout: 600_000 },
  async () => {
    const user = new User();
    const flags = ['--feature', 'local-embeddings'];
    expect(await user.install(flags)).toMatch(/^features: core, local-embeddings$/m);
    const uses =
      'import numpy, onnxruntime, tokenizers, msgpack; print(int(numpy.arange(4).sum()))';
    expect(await user.ktx(['exec', '-c', uses])).toMatchObject({ code: 0, stdout: '6\n' });
    // What has more serves who asks for less.
    expect(await user.install()).toMatch(/^Using existing[^]*^features: core, local-embeddings$/m);
    expect(await user.install(flags)).toMatch(/^Using existing/);
  },
);

test(
  'a feature that cannot be fetched leaves the core runtime as it was',
  { timeout: 600_000 },
  async () => {
    const user = new User();
    await user.install();
    const begun = new User({
      root: user.root,
      seeded: false,
      env: {
        KTX_UV: keptUv(suite.seed),
        UV_DEFAULT_INDEX: 'http://127.0.0.1:9/simple',
        NO_PROXY: '127.0.0.1',
      },
    });
    const failed = await begun.ktx([
      'runtime',
      'install',
      '--yes',
      '--feature',
      'local-embeddings',
    ]);
    expect(failed.code).toBe(1);
    expect((await user.status()).manifest?.features).toEqual(['core']);
    await user.expectRuns();
  },
);
