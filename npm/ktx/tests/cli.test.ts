// What the command line means: the arguments that commands receive, and the words and exit codes of
// the real file.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { describe, expect, it, vi } from 'vitest';
import { SHELLS } from '../src/program.js';
import { getKtxCliPackageInfo, runKtxCli } from '../src/index.js';
import { CLI, capturedIo, ktx } from './support.js';

const built: typeof import('../src/index.js') = createRequire(import.meta.url)('../dist/index.cjs');
const cliVersion = getKtxCliPackageInfo().version;

describe('arguments of runtime commands', () => {
  it.each([
    [
      ['runtime', 'install'],
      { command: 'install', cliVersion, feature: 'core', force: false },
    ],
    [
      ['runtime', 'install', '--feature', 'local-embeddings', '--force'],
      { command: 'install', cliVersion, feature: 'local-embeddings', force: true },
    ],
    [
      ['runtime', 'install', '--json', '--yes'],
      { command: 'install', cliVersion, feature: 'core', force: false, json: true, yes: true },
    ],
    [
      ['runtime', 'install', '--no-input'],
      { command: 'install', cliVersion, feature: 'core', force: false, input: false },
    ],
    [['runtime', 'status', '--json'], { command: 'status', cliVersion, json: true }],
    [['runtime', 'doctor'], { command: 'doctor', cliVersion, json: false }],
    [['runtime', 'prune', '--dry-run'], { command: 'prune', cliVersion, dryRun: true, yes: false }],
    [['runtime', 'prune', '--yes'], { command: 'prune', cliVersion, dryRun: false, yes: true }],
    [['runtime', 'status', '--project-dir', 'p'], { command: 'status', cliVersion, json: false, projectDir: 'p' }],
    [['runtime', 'start'], { command: 'start', cliVersion, feature: 'core', force: false }],
    [
      ['runtime', 'start', '--feature', 'local-embeddings', '--force', '--yes', '--json', '--project-dir', 'p'],
      {
        command: 'start',
        cliVersion,
        feature: 'local-embeddings',
        force: true,
        projectDir: 'p',
        yes: true,
        json: true,
      },
    ],
    [
      ['runtime', 'start', '--no-input'],
      { command: 'start', cliVersion, feature: 'core', force: false, input: false },
    ],
    [['runtime', 'stop'], { command: 'stop', cliVersion, all: false }],
    [['runtime', 'stop', '--all', '--json'], { command: 'stop', cliVersion, all: true, json: true }],
    [['runtime', 'logs'], { command: 'logs', cliVersion, follow: false, lines: 100 }],
    [
      ['runtime', 'logs', '--follow', '--lines', '0', '--project-dir', 'p'],
      { command: 'logs', cliVersion, follow: true, lines: 0, projectDir: 'p' },
    ],
  ])('%j', async (argv, args) => {
    const { io } = capturedIo();
    const runtime = vi.fn(async () => 7);
    // The build parses the most frequent lines in advance, which must make no difference.
    expect(await runKtxCli(argv, io, { runtime })).toBe(7);
    expect(await built.runKtxCli(argv, io, { runtime })).toBe(7);
    expect(runtime.mock.calls).toStrictEqual([[args, io], [args, io]]);
  });
});

describe('arguments of exec', () => {
  const plain = { args: [], json: false, yes: false, input: true, daemon: true };

  it.each([
    [['-c', '1'], { ...plain, source: { code: '1' } }],
    [['-c', '--json'], { ...plain, source: { code: '--json' } }],
    [['-c', ''], { ...plain, source: { code: '' } }],
    [['-c', '-c', '--json'], { ...plain, source: { code: '-c' }, json: true }],
    [['--json', '-c', 'print("a b")'], { ...plain, source: { code: 'print("a b")' }, json: true }],
    [['--no-daemon', '-c', 'CODE'], { ...plain, source: { code: 'CODE' }, daemon: false }],
    [['-c', '1', '--', '-c'], { ...plain, source: { code: '1' }, args: ['-c'] }],
    [['--session', 's', '-c', '1'], { ...plain, source: { code: '1' }, session: 's' }],
    [['f.py', '--project-dir', 'p'], { ...plain, source: { file: 'f.py' }, projectDir: 'p' }],
  ])('%j', async (argv, args) => {
    const { io } = capturedIo();
    const exec = vi.fn(async () => 7);
    // As above: some of these lines are known in advance.
    expect(await runKtxCli(['exec', ...argv], io, { exec })).toBe(7);
    expect(await built.runKtxCli(['exec', ...argv], io, { exec })).toBe(7);
    expect(exec.mock.calls).toStrictEqual([[args, io], [args, io]]);
  });
});

describe('wrong usage', () => {
  it.each([
    [['runtime', 'statsu'], /unknown command 'statsu'[^]*Did you mean status\?/],
    [['runtime', 'status', '--jsn'], /unknown option '--jsn'[^]*Did you mean --json\?/],
    [['runtime', 'install', '--feature', 'gpu'], /Allowed choices are core, local-embeddings/],
    [['runtime', 'install', '--yes', '--no-input'], /'--yes' cannot be used with option '--no-input'/],
    [['runtime', 'prune', '--no-input', '--yes'], /cannot be used with/],
    [['exec', '-c', '1', '--yes', '--no-input'], /cannot be used with/],
    [['exec', '-c', ' \n'], /The code is empty/],
    [['exec', '-c', '1', '--session', 's', '--no-daemon'], /cannot be used with/],
    [['runtime', 'stop', '--all', '--project-dir', 'p'], /cannot be used with/],
    [['runtime', 'logs', '--lines', '-1'], /It is a number of lines/],
    [['runtime', 'start', '--yes', '--no-input'], /cannot be used with/],
    [['exec', 'missing.py'], /Cannot read `missing\.py`: no such file/],
    [['exec', '-c', '1', 'file.py'], /Give one source of code/],
    [['exec', 'a.py', 'b.py', '--', 'c'], /Give one source of code/],
    [['exec', '-c', '1', '--timeout', '0'], /number of seconds above 0/],
    [['exec', '-c', '1', '--timeout', 'soon'], /number of seconds above 0/],
    [['completion', 'tcsh'], /Allowed choices are bash, zsh, fish, powershell/],
    [[], /Usage: ktx/],
  ])('%j exits 2 and says why on stderr', async (argv, words) => {
    const { code, stdout, stderr } = await ktx(argv);
    expect(stderr).toMatch(words);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });

  it('takes an empty stdin for empty code', async () => {
    expect(await ktx(['exec'])).toMatchObject({ code: 2, stderr: 'The code is empty\n' });
  });
});

describe('the ktx file', () => {
  it('prints just the version', async () => {
    expect(await ktx(['--version'])).toMatchObject({ code: 0, stdout: `${cliVersion}\n`, stderr: '' });
  });

  it('shows help with examples on stdout', async () => {
    for (const argv of [['--help'], ['runtime', 'install', '--help'], ['exec', '--help']]) {
      const { code, stdout, stderr } = await ktx(argv);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toMatch(/\nExamples:\n {2}ktx /);
    }
  });

  it('ends quietly when its reader is gone', async () => {
    const child = spawn(process.execPath, [CLI, 'completion', 'fish'], { stdio: 'pipe' });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    expect(await once(child, 'close')).toEqual([0, null]);
    expect(stderr).toBe('');
  });

  it('loads nothing that it does not need to say its version', () => {
    const script = `process.argv = [process.execPath, 'ktx', '--version'];
      process.on('exit', () => console.log(Object.keys(require.cache).join()));
      require(${JSON.stringify(CLI)});`;
    const loaded = execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' });
    expect(loaded).toContain('commander.cjs');
    for (const file of ['prompts.cjs', 'client.cjs', 'connection.cjs', '.node']) {
      expect(loaded).not.toContain(file);
    }
  });
});

describe('completion', () => {
  it.each(SHELLS)('knows every command and flag in %s', async (shell) => {
    const { code, stdout } = await ktx(['completion', shell]);
    expect(code).toBe(0);
    for (const word of ['install', 'doctor', 'local-embeddings', 'powershell', 'no-input', 'dry-run', 'follow']) {
      expect(stdout).toContain(word);
    }
  });

  const complete = async (words: string[]): Promise<string[]> => {
    const { stdout } = await ktx(['completion', 'bash']);
    const quoted = words.map((word) => `'${word}'`).join(' ');
    const script = `${stdout}
COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _ktx_complete; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const found = execFileSync('bash', ['-c', script], { encoding: 'utf8' });
    return found.split('\n').filter((line) => line !== '');
  };

  it('completes commands, flags and values in bash', async () => {
    expect(await complete(['ktx', 'ru'])).toEqual(['runtime']);
    expect(await complete(['ktx', 'runtime', ''])).toEqual([
      'install',
      'status',
      'doctor',
      'prune',
      'start',
      'stop',
      'logs',
    ]);
    expect(await complete(['ktx', 'runtime', 'install', '--feature', 'l'])).toEqual(['local-embeddings']);
    expect(await complete(['ktx', 'runtime', 'prune', '--d'])).toEqual(['--dry-run']);
    expect(await complete(['ktx', 'completion', 'po'])).toEqual(['powershell']);
    expect(await complete(['ktx', 'exec', 'file'])).toEqual([]);
    expect(await complete(['ktx', 'exec', 'a.py', '--', '--j'])).toEqual([]);
  });
});
