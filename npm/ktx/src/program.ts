// The description of every command and flag. Parsing, help and shell completion are made from it,
// so that none of them can differ from the others. It is a file of its own in the package: the most
// frequent command lines do without it.
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { completionScript } from './completion.js';
import { KtxError } from './errors.js';
import type { ExecArgs } from './exec-command.js';
import { type KtxIo, columnsOf, hasColors } from './io.js';
import { getKtxCliPackageInfo } from './package-info.js';
import type { KtxRuntimeArgs } from './runtime-commands.js';
import type { RuntimeFeature } from './types.js';

/** What the commands do. */
export interface Handlers {
  runtime(args: KtxRuntimeArgs): Promise<void>;
  exec(args: ExecArgs): Promise<void>;
  completion(shell: Shell): Promise<void>;
}

/** Shells that completion exists for. */
export const SHELLS = ['bash', 'zsh', 'fish', 'powershell'] as const;
export type Shell = (typeof SHELLS)[number];

const FEATURES: RuntimeFeature[] = ['core', 'local-embeddings'];

export { CommanderError, completionScript };

/** Describes the program; parsing throws a `CommanderError` instead of ending the process. */
export function createProgram(argv: string[], io: KtxIo, handlers: Handlers): Command {
  const { version } = getKtxCliPackageInfo();
  const program = new Command('ktx')
    .description('Python inside an npm package: installs a private runtime and runs code in it')
    .version(version, '-V, --version', 'Print the version')
    .helpOption('-h, --help', 'Show help')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      getOutHelpWidth: () => columnsOf(io.stdout),
      getErrHelpWidth: () => columnsOf(io.stderr),
      getOutHasColors: () => hasColors(io.stdout),
      getErrHasColors: () => hasColors(io.stderr),
    })
    .showHelpAfterError('Run `ktx --help` to see the commands')
    .addHelpText(
      'after',
      examples([
        'ktx runtime install',
        'ktx runtime status --json',
        "ktx exec -c 'print(6*7)'",
        'ktx exec script.py --timeout 10 -- first second',
        'ktx runtime start',
      ]),
    );
  addRuntime(program, version, handlers);
  addExec(program, argv, handlers);
  program
    .command('completion')
    .description('Print a completion script for a shell')
    .addArgument(new Argument('<shell>', 'Shell to complete in').choices(SHELLS))
    .addHelpText(
      'after',
      examples([
        'source <(ktx completion bash)',
        'source <(ktx completion zsh)',
        'ktx completion fish | source',
        'ktx completion powershell | Out-String | Invoke-Expression',
      ]),
    )
    .action((shell: Shell) => handlers.completion(shell));
  return program;
}

function addRuntime(program: Command, cliVersion: string, handlers: Handlers): void {
  const runtime = program
    .command('runtime')
    .description('Install and look after the Python runtime and the daemon of this version')
    .addHelpText(
      'after',
      examples(['ktx runtime install', 'ktx runtime doctor', 'ktx runtime start']),
    );
  runtime
    .command('install')
    .description('Install the runtime, or say that it is ready')
    .addOption(
      new Option('--feature <feature>', 'What to install').choices(FEATURES).default('core'),
    )
    .option('--force', 'Build a new environment although the present one is ready', false)
    .addOption(yesOption())
    .addOption(noInputOption())
    .option('--json', 'Print the result as JSON')
    .addHelpText(
      'after',
      examples(['ktx runtime install', 'ktx runtime install --feature local-embeddings --yes']),
    )
    .action((_options, command: Command) => {
      const { feature, force } = command.opts<{ feature: RuntimeFeature; force: boolean }>();
      return handlers.runtime({
        command: 'install',
        cliVersion,
        feature,
        force,
        ...given(command, 'yes', 'input', 'json'),
      });
    });
  runtime
    .command('status')
    .description('Say whether the runtime is ready and where it is, and whether the daemon runs')
    .option('--json', 'Print the same as JSON', false)
    .addOption(projectOption())
    .addHelpText('after', examples(['ktx runtime status', 'ktx runtime status --json']))
    .action((_options, command: Command) => {
      const { json } = command.opts<{ json: boolean }>();
      return handlers.runtime({
        command: 'status',
        cliVersion,
        json,
        ...given(command, 'projectDir'),
      });
    });
  runtime
    .command('doctor')
    .description('Check uv, the bundled wheel and the runtime, and say what repairs them')
    .option('--json', 'Print the same as JSON', false)
    .addHelpText('after', examples(['ktx runtime doctor', 'ktx runtime doctor --json']))
    .action(({ json }: { json: boolean }) =>
      handlers.runtime({ command: 'doctor', cliVersion, json }),
    );
  runtime
    .command('prune')
    .description('Remove the runtimes of other versions that nothing uses')
    .option('--dry-run', 'List what would be removed', false)
    .addOption(yesOption('Remove without asking').default(false))
    .addOption(noInputOption())
    .addHelpText('after', examples(['ktx runtime prune --dry-run', 'ktx runtime prune --yes']))
    .action((_options, command: Command) => {
      const { dryRun, yes } = command.opts<{ dryRun: boolean; yes: boolean }>();
      return handlers.runtime({
        command: 'prune',
        cliVersion,
        dryRun,
        yes,
        ...given(command, 'input'),
      });
    });
  addDaemon(runtime, cliVersion, handlers);
}

function addDaemon(runtime: Command, cliVersion: string, handlers: Handlers): void {
  runtime
    .command('start')
    .description('Start the daemon, in which code runs in milliseconds, or say that it runs')
    .addOption(
      new Option('--feature <feature>', 'What must be installed').choices(FEATURES).default('core'),
    )
    .option('--force', 'End a daemon that runs, and start another', false)
    .addOption(projectOption())
    .addOption(yesOption('Install the runtime without asking if it is missing'))
    .addOption(noInputOption())
    .option('--json', 'Print { status, pid, endpoint, stateFile, version, features }')
    .addHelpText(
      'after',
      examples(['ktx runtime start', 'ktx runtime start --yes --json', 'ktx runtime start --force']),
    )
    .action((_options, command: Command) => {
      const { feature, force } = command.opts<{ feature: RuntimeFeature; force: boolean }>();
      return handlers.runtime({
        command: 'start',
        cliVersion,
        feature,
        force,
        ...given(command, 'projectDir', 'yes', 'input', 'json'),
      });
    });
  runtime
    .command('stop')
    .description('End the daemon and all that it runs')
    .option('--all', 'End every daemon under the runtime root, of every version and project', false)
    .addOption(projectOption().conflicts('all'))
    .option('--json', 'Print { status, stopped }')
    .addHelpText('after', examples(['ktx runtime stop', 'ktx runtime stop --all']))
    .action((_options, command: Command) => {
      const { all } = command.opts<{ all: boolean }>();
      return handlers.runtime({
        command: 'stop',
        cliVersion,
        all,
        ...given(command, 'projectDir', 'json'),
      });
    });
  runtime
    .command('logs')
    .description("Print the end of the daemon's log")
    .option('--follow', 'Go on with what is written from now on', false)
    .addOption(
      new Option('--lines <count>', 'How many lines').argParser(parseCount).default(LOG_LINES),
    )
    .addOption(projectOption())
    .addHelpText('after', examples(['ktx runtime logs', 'ktx runtime logs --follow --lines 0']))
    .action((_options, command: Command) => {
      const { follow, lines } = command.opts<{ follow: boolean; lines: number }>();
      return handlers.runtime({
        command: 'logs',
        cliVersion,
        follow,
        lines,
        ...given(command, 'projectDir'),
      });
    });
}

function addExec(program: Command, argv: string[], handlers: Handlers): void {
  program
    .command('exec')
    .description('Run Python code in the runtime')
    .usage('[options] [-c CODE | FILE | -] [-- args...]')
    .argument('[file]', 'File with the code; `-` or nothing reads it from stdin')
    .argument('[args...]', 'After `--`: what the code finds in sys.argv[1:]')
    .option('-c, --code <code>', 'The code itself')
    .addOption(
      new Option('--timeout <seconds>', 'End the code after this time').argParser(parseSeconds),
    )
    .option('--cwd <dir>', 'Working directory of the code; by default an empty temporary one')
    .option('--session <name>', 'Keep variables from call to call; starts the daemon if need be')
    .addOption(
      new Option('--no-daemon', 'Run without the daemon, even if it is there').conflicts('session'),
    )
    .addOption(projectOption())
    .option('--json', 'Print { success, value, stdout, stderr, error, durationMs }', false)
    .addOption(yesOption('Install the runtime without asking if it is missing').default(false))
    .addOption(noInputOption())
    .addHelpText(
      'after',
      examples([
        "ktx exec -c 'print(6*7)'",
        'ktx exec script.py -- first second',
        'echo "sum(range(10))" | ktx exec --json',
        "ktx exec --session work -c 'x = 1'",
      ]) + '\nExit code: 0 done, 1 Python failed, 2 wrong usage, 124 timed out\n',
    )
    .action((_file, _args, _options, command: Command) => {
      const { code, timeout, cwd, json, yes, input, session, daemon, projectDir } = command.opts<{
        code?: string;
        timeout?: number;
        cwd?: string;
        json: boolean;
        yes: boolean;
        input: boolean;
        session?: string;
        daemon: boolean;
        projectDir?: string;
      }>();
      const { operands, args } = splitOperands(command.args, argv);
      return handlers.exec({
        source: sourceOf(code, operands),
        args,
        json,
        yes,
        input,
        daemon,
        ...(timeout === undefined ? {} : { timeoutMs: timeout * 1000 }),
        ...(cwd === undefined ? {} : { cwd }),
        ...(session === undefined ? {} : { session }),
        ...(projectDir === undefined ? {} : { projectDir }),
      });
    });
}

// Commander removes `--` from the operands, and what follows it belongs to the code.
function splitOperands(all: string[], argv: string[]): { operands: string[]; args: string[] } {
  const dashes = argv.indexOf('--');
  const count = dashes === -1 ? 0 : Math.min(argv.length - dashes - 1, all.length);
  const first = all.length - count;
  return { operands: all.slice(0, first), args: all.slice(first) };
}

function sourceOf(code: string | undefined, operands: string[]): ExecArgs['source'] {
  const [file, extra] = operands;
  if (extra !== undefined || (code !== undefined && file !== undefined)) {
    throw new KtxError('KTX_USAGE', 'Give one source of code: -c CODE, FILE or -', {
      hint: 'Put arguments for the code behind two dashes: ktx exec FILE -- args',
    });
  }
  if (code !== undefined) return { code };
  return file === undefined ? undefined : { file };
}

// Beyond this Node's timers fire at once.
const LONGEST_TIMEOUT_SECONDS = 2_000_000;

function parseSeconds(text: string): number {
  const seconds = text.trim() === '' ? Number.NaN : Number(text);
  if (!(seconds > 0 && seconds <= LONGEST_TIMEOUT_SECONDS)) {
    throw new InvalidArgumentError(
      `It is a number of seconds above 0 and up to ${LONGEST_TIMEOUT_SECONDS}.`,
    );
  }
  return seconds;
}

// As many as a screen or two.
const LOG_LINES = 100;

function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It is a number of lines.');
  return Number(text);
}

function projectOption(): Option {
  return new Option('--project-dir <dir>', "The project's own daemon, not the user's");
}

function yesOption(description = 'Go ahead without asking'): Option {
  return new Option('--yes', description).conflicts('input');
}

function noInputOption(): Option {
  return new Option('--no-input', 'Never ask; stop where an answer is needed');
}

interface GivenFlags {
  yes?: boolean;
  input?: boolean;
  json?: boolean;
  projectDir?: string;
}

// Flags that were not given leave no key behind.
function given<K extends keyof GivenFlags>(command: Command, ...keys: K[]): Pick<GivenFlags, K> {
  return Object.fromEntries(
    keys
      .filter((key) => command.getOptionValueSource(key) === 'cli')
      .map((key) => [key, command.getOptionValue(key)]),
  ) as Pick<GivenFlags, K>;
}

function examples(lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}\n`;
}
