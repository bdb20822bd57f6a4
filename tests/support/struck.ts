// The commands that are struck: what is there before each strike, and what must work after it.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { eventually } from './processes.js';
import { neighbour } from './invariants.js';
import { type User, VERSION, ktxModule, temporaryDirectory } from './user.js';

const { PythonRuntime, pruneManagedPythonRuntimes, readManagedPythonRuntimeStatus } = ktxModule;

const STALE = '0.0.1';

/** A command, made ready and looked after for every strike. */
export interface Struck {
  name: string;
  area: 'install' | 'prune' | 'daemon';
  /** What it is, for the table. */
  words: string;
  args: string[];
  /** Whether a runtime works before it, and so must after it. */
  worked: boolean;
  prepare(user: User): void;
  /** Does the command again, which must succeed, and looks at what it leaves. */
  again(user: User): Promise<void>;
}

/** The commands that change what is installed or runs. */
export const STRUCK: Struck[] = [
  {
    name: 'install',
    area: 'install',
    words: 'a first installation',
    args: ['runtime', 'install', '--yes'],
    worked: false,
    prepare(user) {
      rmSync(user.versionDir, { recursive: true, force: true });
      rmSync(`${user.root}.lock`, { force: true });
    },
    async again(user) {
      expect(user.entries()).toEqual([
        expect.stringMatching(/^\.venv/),
        'install.log',
        'manifest.json',
      ]);
    },
  },
  {
    name: 'reinstall',
    area: 'install',
    words: 'a forced reinstallation',
    args: ['runtime', 'install', '--force', '--yes'],
    worked: true,
    prepare() {},
    async again() {},
  },
  {
    name: 'prune',
    area: 'prune',
    words: 'a prune of a stale version',
    args: ['runtime', 'prune', '--yes'],
    worked: true,
    prepare(user) {
      cpSync(user.versionDir, join(user.root, STALE), {
        recursive: true,
        verbatimSymlinks: true,
        // One package file is removed as another.
        filter: (path) => !path.includes('site-packages/'),
      });
    },
    async again(user) {
      await pruneManagedPythonRuntimes({ cliVersion: VERSION, runtimeRoot: user.root });
      expect(existsSync(join(user.root, STALE))).toBe(false);
    },
  },
  {
    name: 'start',
    area: 'daemon',
    words: 'the start of a daemon',
    args: ['runtime', 'start'],
    worked: true,
    prepare() {},
    async again(user) {
      expect(await user.ktx(['runtime', 'start'])).toMatchObject({ code: 0, stderr: '' });
      await user.expectRuns();
      expect(await user.ktx(['runtime', 'stop', '--all'])).toMatchObject({ code: 0 });
      await eventually('no process is left', () => user.processes().size === 0);
    },
  },
];

/** Somebody on whom one command is struck again and again. */
export class Victim {
  readonly user: User;
  private readonly struck: Struck;
  private readonly foreign: string;
  private readonly expectHomeUntouched: () => void;

  private constructor(struck: Struck) {
    // Daemons have their sockets there where the root's path is too long for one.
    const { user, expectUntouched } = neighbour({ env: { TMPDIR: temporaryDirectory() } });
    this.user = user;
    this.struck = struck;
    this.expectHomeUntouched = expectUntouched;
    mkdirSync(join(user.root, 'mine'));
    this.foreign = join(user.root, 'mine', 'notes');
    writeFileSync(this.foreign, 'mine');
  }

  static async of(struck: Struck): Promise<Victim> {
    const victim = new Victim(struck);
    if (struck.worked) await victim.user.install();
    return victim;
  }

  /** Has the command struck, and fails if afterwards anything is not as it must be. */
  async strike<T>(note: string, strike: (user: User, args: string[]) => Promise<T>): Promise<T> {
    const { struck, user } = this;
    struck.prepare(user);
    const outcome = await strike(user, struck.args);
    const { kind } = await readManagedPythonRuntimeStatus(user.options);
    if (struck.worked) expect(kind, note).toBe('ready');
    this.expectUntouched();
    // What status calls ready has to run as it is, and all else after one installation.
    const runtime = await PythonRuntime.ensure(user.options);
    expect(runtime.status, note).toBe(kind === 'ready' ? 'ready' : 'installed');
    expect(await runtime.execute('6 * 7'), note).toMatchObject({ value: 42 });
    await struck.again(user);
    return outcome;
  }

  /** Does the command once more, undisturbed, and looks for what the strikes left. */
  async close(): Promise<void> {
    await this.user.install(['--force']);
    expect(this.user.entries()).toHaveLength(3);
    expect(this.user.processes()).toEqual(new Map());
    this.expectUntouched();
  }

  private expectUntouched(): void {
    this.expectHomeUntouched();
    expect(readFileSync(this.foreign, 'utf8')).toBe('mine');
  }
}
