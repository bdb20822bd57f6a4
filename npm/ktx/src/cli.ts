// The `ktx` command as a function: parse, call, return the exit code. It never ends the process.
import { type KtxIo, ExitCode, reportFailure } from './io.js';
import type { ExecArgs, KtxExecDeps } from './exec-command.js';
import { type KtxRuntimeArgs, runKtxRuntime } from './runtime-commands.js';

/** Replacements for what the command calls; what is absent is the real thing. */
export interface KtxCliDeps extends KtxExecDeps {
  /** Runs the `ktx runtime` commands. Default: `runKtxRuntime`. */
  runtime?: (args: KtxRuntimeArgs, io: KtxIo) => number | Promise<number>;
  /** Runs `ktx exec`. Default: the command itself. */
  exec?: (args: ExecArgs, io: KtxIo) => number | Promise<number>;
}

/**
 * Runs the `ktx` command.
 *
 * @param argv - Arguments after `ktx`. Default: those of this process.
 * @returns the exit code: 0 done, 1 failed, 2 wrong usage, 124 timed out.
 */
export async function runKtxCli(
  argv: string[] = process.argv.slice(2),
  io: KtxIo = process,
  deps: KtxCliDeps = {},
): Promise<number> {
  const runtime = deps.runtime ?? ((args: KtxRuntimeArgs) => runKtxRuntime(args, io, deps));
  const exec =
    deps.exec ??
    (async (args: ExecArgs) => {
      const { runKtxExec } = await import('./exec-command.js');
      return await runKtxExec(args, io, deps);
    });
  try {
    const parsed = parsedRuntime(argv);
    if (parsed !== undefined) return await runtime(parsed, io);
    const parsedCode = parsedExec(argv);
    if (parsedCode !== undefined) return await exec(parsedCode, io);
  } catch (error) {
    return reportFailure(error, io);
  }
  const { createProgram, CommanderError, completionScript } = await import('./program.js');
  let exitCode: number = ExitCode.done;
  const program = createProgram(argv, io, {
    async runtime(args) {
      exitCode = await runtime(args, io);
    },
    async exec(args) {
      exitCode = await exec(args, io);
    },
    async completion(shell) {
      io.stdout.write(completionScript(program, shell));
    },
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? ExitCode.done : ExitCode.usage;
    }
    return reportFailure(error, io);
  }
}

function parsedRuntime(argv: string[]): KtxRuntimeArgs | undefined {
  const words = argv.join('\0');
  const parsed = Object.hasOwn(KTX_PARSED.runtime, words) ? KTX_PARSED.runtime[words] : undefined;
  return parsed && { ...parsed };
}

function parsedExec(argv: string[]): ExecArgs | undefined {
  const at = argv.indexOf('-c') + 1;
  const code = argv[at];
  if (at === 0 || code === undefined) return undefined;
  const words = argv.with(at, '').join('\0');
  const parsed = Object.hasOwn(KTX_PARSED.exec, words) ? KTX_PARSED.exec[words] : undefined;
  return parsed && { ...parsed, source: { code } };
}
