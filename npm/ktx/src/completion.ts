// Shell completion, generated from the description of the commands. The scripts know every word in
// advance, so that completing starts no process.
import type { Argument, Command, Option } from 'commander';
import type { Shell } from './program.js';

/** One command as completion sees it. */
interface Node {
  /** Words that lead here, without the name of the program. */
  path: string[];
  commands: { name: string; description: string }[];
  options: { flags: string[]; description: string; takesValue: boolean; choices: string[] }[];
  /** Values of its first argument, where they are fixed. */
  values: string[];
}

/** Returns the script that gives `program` completion in a shell. */
export function completionScript(program: Command, shell: Shell): string {
  const nodes = describe(program, []);
  const write = { bash, zsh, fish, powershell }[shell];
  return `${write(program.name(), nodes).trim()}\n`;
}

function describe(command: Command, path: string[]): Node[] {
  const node: Node = {
    path,
    commands: command.commands.map((sub) => ({
      name: sub.name(),
      description: sub.description(),
    })),
    options: command
      .createHelp()
      .visibleOptions(command)
      .map((option: Option) => ({
        flags: [option.short, option.long].filter((flag) => flag !== undefined),
        description: option.description,
        takesValue: option.required || option.optional,
        choices: option.argChoices ?? [],
      })),
    values: command.registeredArguments.flatMap((argument: Argument) => argument.argChoices ?? []),
  };
  return [node, ...command.commands.flatMap((sub) => describe(sub, [...path, sub.name()]))];
}

function words(node: Node): string[] {
  return [...node.commands.map(({ name }) => name), ...node.values];
}

function flags(node: Node): string[] {
  return node.options.flatMap((option) => option.flags);
}

function valued(node: Node): { flag: string; choices: string[] }[] {
  return node.options
    .filter(({ takesValue }) => takesValue)
    .flatMap((option) => option.flags.map((flag) => ({ flag, choices: option.choices })));
}

const key = (path: string[]): string => path.join('/');

// bash and zsh share the walk along the words; they differ in how candidates are handed over.
function walk(nodes: Node[]): string {
  return nodes
    .flatMap((node) =>
      node.commands.map(
        ({ name }) => `      '${key(node.path)}:${name}') at='${key([...node.path, name])}' ;;`,
      ),
    )
    .join('\n');
}

function cases(nodes: Node[], offer: (candidates: string[]) => string): string {
  const values = nodes.flatMap((node) =>
    valued(node).map(({ flag, choices }) => {
      const action = choices.length === 0 ? 'return' : offer(choices);
      return `    '${key(node.path)}:${flag}') ${action} ;;`;
    }),
  );
  const commands = nodes.flatMap((node) => [
    `    '${key(node.path)}:'-*) ${offer(flags(node))} ;;`,
    ...(words(node).length === 0 ? [] : [`    '${key(node.path)}:'*) ${offer(words(node))} ;;`]),
  ]);
  return `  case "$at:$previous" in
${values.join('\n')}
  esac
  case "$at:$current" in
${commands.join('\n')}
  esac`;
}

function bash(program: string, nodes: Node[]): string {
  const offer = (candidates: string[]): string =>
    `COMPREPLY=($(compgen -W '${candidates.join(' ')}' -- "$current")); return`;
  return `
_${program}_complete() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" at='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at:\${COMP_WORDS[i]}" in
      *:--) return ;;
${walk(nodes)}
    esac
  done
${cases(nodes, offer)}
}
complete -o default -F _${program}_complete ${program}`;
}

function zsh(program: string, nodes: Node[]): string {
  const offer = (candidates: string[]): string => `compadd -- ${candidates.join(' ')}; return`;
  return `
#compdef ${program}
_${program}_complete() {
  local current="\${words[CURRENT]}" previous="\${words[CURRENT-1]}" at='' i
  for ((i = 2; i < CURRENT; i++)); do
    case "$at:\${words[i]}" in
      *:--) _files; return ;;
${walk(nodes)}
    esac
  done
${cases(nodes, offer)}
  _files
}
compdef _${program}_complete ${program}`;
}

function fish(program: string, nodes: Node[]): string {
  const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = nodes.flatMap((node) => {
    const names = node.commands.map(({ name }) => name).join(' ');
    const here = [
      ...node.path.map((word) => `__fish_seen_subcommand_from ${word}`),
      ...(names === '' ? [] : [`not __fish_seen_subcommand_from ${names}`]),
    ].join('; and ');
    const base = `complete -c ${program}${here === '' ? '' : ` -n ${quote(here)}`}`;
    return [
      ...node.commands.map(
        ({ name, description }) => `${base} -f -a ${name} -d ${quote(description)}`,
      ),
      ...(node.values.length === 0 ? [] : [`${base} -f -a ${quote(node.values.join(' '))}`]),
      ...node.options.map(({ flags: names, description, takesValue, choices }) =>
        [
          base,
          ...names.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`)),
          ...(choices.length > 0 ? [`-x -a ${quote(choices.join(' '))}`] : takesValue ? ['-r'] : []),
          `-d ${quote(description)}`,
        ].join(' '),
      ),
    ];
  });
  return lines.join('\n');
}

function powershell(program: string, nodes: Node[]): string {
  const list = (items: string[]): string => `@(${items.map((item) => `'${item}'`).join(', ')})`;
  const candidates = nodes.map(
    (node) => `    '${key(node.path)}' = ${list([...words(node), ...flags(node)])}`,
  );
  const values = nodes.flatMap((node) =>
    valued(node).map(({ flag, choices }) => `    '${key(node.path)}:${flag}' = ${list(choices)}`),
  );
  return `
Register-ArgumentCompleter -Native -CommandName ${program} -ScriptBlock {
  param($current, $line, $cursor)
  $candidates = @{
${candidates.join('\n')}
  }
  $values = @{
${values.join('\n')}
  }
  $at = ''
  $previous = ''
  foreach ($element in ($line.CommandElements | Select-Object -Skip 1)) {
    if ($element.Extent.EndOffset -ge $cursor) { break }
    $word = $element.ToString()
    if ($word -eq '--') { return }
    $next = if ($at) { "$at/$word" } else { $word }
    if ($candidates.ContainsKey($next)) { $at = $next }
    $previous = $word
  }
  $found = if ($values.ContainsKey("\${at}:$previous")) { $values["\${at}:$previous"] } else { $candidates[$at] }
  $found | Where-Object { $_ -like "$current*" } | ForEach-Object {
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }
}`;
}
