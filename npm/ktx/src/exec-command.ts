// `ktx exec`: finds the code, sees to it that there is a runtime, runs it there and passes on what
// came of it.
import { readFile } from 'node:fs/promises';
import { KtxError, messageOf } from './errors.js';
import type { ExecuteOutcome, ExecuteRequest, Executed } from './execute.js';
import { ExitCode, type KtxIo, canAsk, printLines } from './io.js';
import { getKtxCliPackageInfo } from './package-info.js';
import { type KtxRuntimeDeps, installFeature, readStatus } from './runtime-commands.js';
import type { RuntimeManifest, RuntimeStatus } from './types.js';

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
}

/** Replacements for what `ktx exec` calls; what is absent is the real thing. */
export interface KtxExecDeps extends KtxRuntimeDeps {
  execute?: (request: ExecuteRequest) => Promise<Executed>;
}

const INSTALL_COMMAND = 'ktx runtime install --yes';

/** Runs `ktx exec` and returns its exit code. */
export async function runKtxExec(args: ExecArgs, io: KtxIo, deps: KtxExecDeps): Promise<number> {
  const { code, filename } = await readCode(args, io);
  const manifest = await readyRuntime(args, io, deps);
  const execute = deps.execute ?? (await import('./execute.js')).execute;
  const request: ExecuteRequest = {
    daemonExecutable: manifest.python.daemonExecutable,
    code,
    filename,
    args: args.args,
    cwd: args.cwd,
    timeoutMs: args.timeoutMs,
    result: args.json ? 'json' : 'repr',
    findDaemon: async () => {
      const found = await readStatus(getKtxCliPackageInfo().version, deps);
      return found.kind === 'ready' ? found.manifest?.python.daemonExecutable : undefined;
    },
  };
  const { outcome, json } = await (deps.interruptible === undefined
    ? execute(request)
    : deps.interruptible((signal) => execute({ ...request, signal })));
  // The daemon's own text: numbers that JavaScript would round stay as they are.
  if (args.json) printLines(io, [json]);
  else writeOutcome(outcome, io);
  return exitCodeOf(outcome);
}

function writeOutcome({ success, value, stdout, stderr, error }: ExecuteOutcome, io: KtxIo): void {
  if (stdout !== '') io.stdout.write(stdout);
  if (stderr !== '') io.stderr.write(stderr);
  if (success) {
    if (typeof value === 'string') io.stdout.write(`${value}\n`);
    return;
  }
  const text = error?.traceback || error?.message || 'Python failed';
  io.stderr.write(text.endsWith('\n') ? text : `${text}\n`);
}

function exitCodeOf({ success, error }: ExecuteOutcome): number {
  if (success) return ExitCode.done;
  return error?.kind === 'timeout' ? ExitCode.timedOut : ExitCode.failed;
}

async function readCode(
  { source }: ExecArgs,
  io: KtxIo,
): Promise<{ code: string; filename: string | undefined }> {
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

function checked(
  code: string,
  filename: string | undefined,
): { code: string; filename: string | undefined } {
  if (code.trim() === '') throw new KtxError('KTX_USAGE', 'The code is empty');
  return { code, filename };
}

async function readyRuntime(
  args: ExecArgs,
  io: KtxIo,
  deps: KtxExecDeps,
): Promise<RuntimeManifest> {
  const cliVersion = getKtxCliPackageInfo().version;
  const found = await readStatus(cliVersion, deps);
  if (found.kind === 'ready' && found.manifest !== undefined) return found.manifest;
  await agreeToInstall(args, found, io);
  const wanted = { cliVersion, feature: 'core' as const, force: false };
  return (await installFeature(wanted, io, deps)).manifest;
}

async function agreeToInstall(args: ExecArgs, found: RuntimeStatus, io: KtxIo): Promise<void> {
  if (args.yes) return;
  if (args.input && canAsk(io)) {
    const { confirmInstall } = await import('./prompts.js');
    if (await confirmInstall(found, io)) return;
  }
  throw new KtxError('KTX_RUNTIME_MISSING', `The Python runtime is ${found.kind}: ${found.detail}`, {
    hint: `Run: ${INSTALL_COMMAND}`,
  });
}
