// A user of a machine without uv: a home of their own, the installed packages, nothing inherited.
import {
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { expect, inject } from 'vitest';
import type * as Ktx from '@scope/ktx';
import { type Finished, type Running, processesMarked, run, start } from './processes.js';

export const suite = inject('suite');
export const VERSION = suite.version;
/** Name of the package, as programs import it. */
export const PACKAGE = suite.packageName;

const PACKAGES = join(suite.project, 'node_modules', dirname(PACKAGE));

/** The installed package, as a CommonJS program gets it. */
export const ktxModule = createRequire(join(suite.project, 'package.json'))(
  PACKAGE,
) as typeof Ktx;

/** The directory of the asset that was installed with the packages. */
export const ASSET_DIR = join(
  PACKAGES,
  readdirSync(PACKAGES).find((name) => name !== basename(PACKAGE)) ?? '',
  'python',
);

/** A new directory; the suite removes it at its end. */
export function temporaryDirectory(name = 'test-'): string {
  return mkdtempSync(join(suite.directory, name));
}

export interface UserOptions {
  /** Whether ktx has fetched uv and packages before. Default: `true`. */
  seeded?: boolean;
  /** The home directory. Default: a new one. */
  home?: string;
  /** The runtime root. Default: where ktx puts it in the home. */
  root?: string;
  /** The folder that holds `node_modules`. Default: the suite's. */
  project?: string;
  env?: Record<string, string>;
}

interface CommandOptions {
  env?: Record<string, string | undefined>;
  cwd?: string;
  stdin?: string;
  stdinAfter?: string;
  /** A command that runs the command, such as `['strace', '-f']`. */
  through?: string[];
}

/** Somebody who types commands. */
export class User {
  readonly home: string;
  readonly root: string;
  readonly project: string;
  readonly env: Record<string, string>;

  constructor(options: UserOptions = {}) {
    this.home = options.home ?? temporaryDirectory();
    mkdirSync(this.home, { recursive: true });
    this.root = options.root ?? join(this.home, '.local/share/kaelio/ktx/runtime');
    this.project = options.project ?? suite.project;
    this.env = {
      ...suite.network,
      PATH: suite.path,
      HOME: this.home,
      ...(options.root === undefined ? {} : { KTX_RUNTIME_ROOT: options.root }),
      ...options.env,
    };
    if (options.seeded !== false) seedRoot(this.root);
  }

  get versionDir(): string {
    return join(this.root, VERSION);
  }

  get manifestPath(): string {
    return join(this.versionDir, 'manifest.json');
  }

  get log(): string {
    return readFileSync(join(this.versionDir, 'install.log'), 'utf8');
  }

  /** What the functions of the package need to act for this user. */
  get options(): { cliVersion: string; env: Record<string, string> } {
    return { cliVersion: VERSION, env: this.env };
  }

  /** Starts `ktx`. */
  start(args: string[], options: CommandOptions = {}): Running {
    const { env, cwd, stdin, stdinAfter, through = [] } = options;
    const [program = '', ...rest] = [
      ...through,
      join(suite.path, 'node'),
      join(this.project, 'node_modules/.bin/ktx'),
      ...args,
    ];
    const merged = Object.entries({ ...this.env, ...env }).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    );
    return start(program, rest, {
      env: Object.fromEntries(merged),
      cwd: cwd ?? this.home,
      ...(stdin === undefined ? {} : { stdin, stdinAfter }),
    });
  }

  /** Runs `ktx` to its end. */
  async ktx(args: string[], options?: CommandOptions): Promise<Finished> {
    return await this.start(args, options).finished;
  }

  /** Installs, which has to succeed. */
  async install(flags: string[] = [], options?: CommandOptions): Promise<string> {
    const done = await this.ktx(['runtime', 'install', '--yes', ...flags], options);
    expect(done).toMatchObject({ code: 0, stderr: '' });
    return done.stdout;
  }

  /** Installs, which must fail; gives what was said about it. */
  async failingInstall(options?: CommandOptions): Promise<string> {
    const done = await this.ktx(['runtime', 'install', '--yes'], options);
    expect(done).toMatchObject({ code: 1, stdout: '' });
    return done.stderr;
  }

  /** What `ktx runtime status --json` says. */
  async status(options?: CommandOptions): Promise<Ktx.RuntimeStatus> {
    const done = await this.ktx(['runtime', 'status', '--json'], options);
    expect(done).toMatchObject({ code: 0, stderr: '' });
    return JSON.parse(done.stdout) as Ktx.RuntimeStatus;
  }

  /** Whether Python runs in the runtime. */
  async expectRuns(options?: CommandOptions): Promise<void> {
    expect(await this.ktx(['exec', '-c', 'print(6*7)'], options)).toEqual({
      code: 0,
      signal: null,
      stdout: '42\n',
      stderr: '',
    });
  }

  /** Command lines of the user's processes, by pid. */
  processes(): Map<number, string> {
    // Children see nothing of the caller's environment but what is allowed, and the home is.
    return processesMarked(`HOME=${this.home}\0`);
  }

  /** Kills all of the user's processes. */
  killProcesses(): void {
    // What a process starts between the listing and its end shows in the next listing.
    for (let left = this.processes(); left.size > 0; left = this.processes()) {
      for (const pid of left.keys()) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It ended by itself.
        }
      }
    }
  }

  /** What lies in the version directory. */
  entries(): string[] {
    return existsSync(this.versionDir) ? readdirSync(this.versionDir).toSorted() : [];
  }
}

/** A user whose first installation needs the package index. */
export function userWithEmptyCache(): User {
  const user = new User();
  rmSync(join(user.root, 'cache'), { recursive: true });
  return user;
}

/** Puts a fetched uv and a filled cache into a root. */
export function seedRoot(root: string): void {
  mkdirSync(root, { recursive: true, mode: 0o700 });
  cpSync(join(suite.seed, 'cache'), join(root, 'cache'), { recursive: true });
  const uv = keptUv(root);
  mkdirSync(dirname(uv), { recursive: true, mode: 0o700 });
  try {
    linkSync(keptUv(suite.seed), uv);
  } catch {
    // Another file system.
    copyFileSync(keptUv(suite.seed), uv);
  }
}

/** Where ktx keeps the uv that it fetched. */
export function keptUv(root: string): string {
  const [version = ''] = readdirSync(join(suite.seed, 'uv'));
  return join(root, 'uv', version, 'uv');
}

/** The packages in a folder of their own, whose files a test may damage. */
export function copyOfPackages(folder: string): string {
  cpSync(suite.project, folder, { recursive: true, verbatimSymlinks: true });
  return folder;
}

/** Every file below a directory, with what shows a change. */
export function fingerprint(directory: string): string {
  const lines: string[] = [];
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    lines.push(entry.isFile() ? `${path} ${readFileSync(path).toString('base64')}` : path);
  }
  return lines.toSorted().join('\n');
}

/** Does something with each, some at a time. */
export async function eachOf<T>(
  items: readonly T[],
  act: (item: T) => Promise<void>,
  together = 2,
): Promise<void> {
  const waiting = items.values();
  const next = async (): Promise<void> => {
    for (const item of waiting) await act(item);
  };
  await Promise.all(Array.from({ length: together }, next));
}

export { run };
