// `ktx exec`: finds the code, runs it through the daemon if that is there, else in a process of its
// own, and passes on its output and what came of it.
import { findDaemonAccess, startDaemonAccess } from './daemon-api.js';
import type { DaemonAccess } from './daemon-types.js';
import { KtxError, messageOf } from './errors.js';
import { exitCodeOf, writeOutcome } from './exec-outcome.js';
import type { ExecuteRequest, Executed } from './execute.js';
import { ExitCode, type KtxIo, printLines } from './io.js';
import { getKtxCliPackageInfo } from './package-info.js';
import { readyRuntime } from './ready-runtime.js';
import { type KtxRuntimeDeps, readStatus } from './runtime-commands.js';

/** @internal Which daemon `ktx exec` means. */
export interface ExecDaemon {
  cliVersion: string;
  projectDir?: string;
}

/** `ktx exec`. */
export interface ExecArgs {
  /** Where the code is: given as text, in a file, or on stdin (`-`). */
  source: { code: string } | { file: string } | undefined;
  /** `sys.argv[1:]`. */
  args: string[];
  timeoutMs?: number;
  cwd?: string;
  json: boolean;
  yes: boolean;
  /** `false` for `--no-input`. */
  input: boolean;
  /** Name of the session to run in; absent for a process of its own. */
  session?: string;
  /** `false` for `--no-daemon`. */
  daemon: boolean;
  /** The project whose own daemon is meant; absent for the user's. */
  projectDir?: string;
}

/** Replacements for what `ktx exec` calls; what is absent is the real thing. */
export interface KtxExecDeps extends KtxRuntimeDeps {
  /** Runs code without a daemon. With a replacement no daemon is looked for. */
  execute?: (request: ExecuteRequest) => Promise<Executed>;
  /** @internal Returns how to call the daemon if its process is there. */
  findDaemonAccess?: (options: ExecDaemon) => Promise<DaemonAccess | undefined>;
  /** @internal Starts the daemon, or finds it, and returns how to call it. */
  startDaemonAccess?: (options: ExecDaemon, signal?: AbortSignal) => Promise<DaemonAccess>;
}

/** Runs `ktx exec` and returns its exit code. */
export async function runKtxExec(args: ExecArgs, io: KtxIo, deps: KtxExecDeps): Promise<number> {
  const source = await readCode(args, io);
  const ran = await throughDaemon(args, source, io, deps);
  return ran ?? (await withoutDaemon(args, source, io, deps));
}

// A daemon is used if it is there, and started only for a session.
async function throughDaemon(
  args: ExecArgs,
  source: Source,
  io: KtxIo,
  deps: KtxExecDeps,
): Promise<number | undefined> {
  const { session, projectDir } = args;
  const find = deps.findDaemonAccess ?? (deps.execute === undefined ? findDaemonAccess : undefined);
  if (!args.daemon || (find === undefined && session === undefined)) return undefined;
  const options: ExecDaemon = {
    cliVersion: getKtxCliPackageInfo().version,
    ...(projectDir === undefined ? {} : { projectDir }),
  };
  const access = await find?.(options);
  if (access === undefined && session === undefined) return undefined;
  const { execInDaemon } = await import('./exec-daemon.js');
  const start = async (): Promise<DaemonAccess> => {
    await readyRuntime({ ...args, cliVersion: options.cliVersion, feature: 'core' }, io, deps);
    const started = deps.startDaemonAccess ?? startDaemonAccess;
    return await interruptible(deps, (signal) => started(options, signal));
  };
  const run = { ...args, ...source };
  return await execInDaemon(run, { access, start }, io, (work) => interruptible(deps, work));
}

async function withoutDaemon(
  args: ExecArgs,
  source: Source,
  io: KtxIo,
  deps: KtxExecDeps,
): Promise<number> {
  const cliVersion = getKtxCliPackageInfo().version;
  const manifest = await readyRuntime({ ...args, cliVersion, feature: 'core' }, io, deps);
  const execute = deps.execute ?? (await import('./execute.js')).execute;
  const unread = new AbortController();
  const request: ExecuteRequest = {
    daemonExecutable: manifest.python.daemonExecutable,
    ...source,
    args: args.args,
    cwd: args.cwd,
    timeoutMs: args.timeoutMs,
    result: args.json ? 'json' : 'repr',
    findDaemon: async () => {
      const found = await readStatus(cliVersion, deps);
      return found.kind === 'ready' ? found.manifest?.python.daemonExecutable : undefined;
    },
  };
  if (!args.json) {
    request.onOutput = (type, text) => {
      io[type].write(text);
      if (io[type].gone === true) unread.abort();
    };
  }
  try {
    const { outcome, json } = await interruptible(deps, (signal) =>
      execute({ ...request, signal: args.json ? signal : anyOf(signal, unread.signal) }),
    );
    // The daemon's own text: numbers that JavaScript would round stay as they are.
    if (args.json) printLines(io, [json]);
    else writeOutcome(outcome, io);
    return exitCodeOf(outcome);
  } catch (error) {
    if (unread.signal.aborted) return ExitCode.unread;
    throw error;
  }
}

function anyOf(signal: AbortSignal | undefined, other: AbortSignal): AbortSignal {
  return signal === undefined ? other : AbortSignal.any([signal, other]);
}

async function interruptible<T>(
  deps: KtxExecDeps,
  work: (signal?: AbortSignal) => Promise<T>,
): Promise<T> {
  return await (deps.interruptible === undefined ? work() : deps.interruptible(work));
}

/** The code, and the name of the file that it is from. */
interface Source {
  code: string;
  filename: string | undefined;
}

async function readCode({ source }: ExecArgs, io: KtxIo): Promise<Source> {
  if (source !== undefined && 'code' in source) return checked(source.code, undefined);
  if (source !== undefined && source.file !== '-') {
    return checked(await readCodeFile(source.file), source.file);
  }
  if (io.stdin === undefined || (source === undefined && io.stdin.isTTY === true)) {
    throw new KtxError('KTX_USAGE', 'No code was given', {
      hint: "Run: ktx exec -c 'print(6*7)'",
    });
  }
  const chunks: Buffer[] = [];
  for await (const chunk of io.stdin) chunks.push(Buffer.from(chunk));
  return checked(decode(Buffer.concat(chunks), 'stdin'), undefined);
}

async function readCodeFile(file: string): Promise<string> {
  let bytes: Buffer;
  try {
    const { readFile } = await import('node:fs/promises');
    bytes = await readFile(file);
  } catch (cause) {
    const reason =
      (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : messageOf(cause);
    throw new KtxError('KTX_USAGE', `Cannot read \`${file}\`: ${reason}`, { cause });
  }
  return decode(bytes, `\`${file}\``);
}

function decode(bytes: Buffer, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new KtxError('KTX_USAGE', `The code in ${what} is not UTF-8`, { cause });
  }
}

function checked(code: string, filename: string | undefined): Source {
  if (code.trim() === '') throw new KtxError('KTX_USAGE', 'The code is empty');
  return { code, filename };
}
