// What only the system can do to a process: no network, another file system, another owner. Each
// lasts as long as the command that is run through it.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { getuid } from 'node:process';

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const UNSHARE = programPath('unshare');
const STRACE = programPath('strace');
const TIMEOUT = programPath('timeout');
const SETPRIV = programPath('setpriv');

const asRoot = getuid?.() === 0;
// Whoever is not root becomes root of a namespace, where the system lets them.
const NAMESPACE = asRoot ? [] : ['--map-root-user'];

function programPath(name: string): string {
  const env = { PATH: SYSTEM_PATH };
  const found = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8', env });
  return found.stdout.trim() || name;
}

function works(command: string[]): boolean {
  const [program = '', ...args] = command;
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

/** Runs a command and writes its system calls of some kinds to a file. */
export function traced(file: string, calls: string): string[] {
  return [STRACE, '-f', '-qq', '-e', `trace=${calls}`, '-o', file];
}

/** A command's system calls of some kinds in `file`, without those of its children. */
export function tracedAlone(file: string, calls: string): string[] {
  return [...traced(file, calls), '-b', 'execve'];
}

/**
 * The call that a trace shows most often, and how often its busiest thread made it: what
 * {@link injected} counts, for every thread and every call by itself.
 */
export function mostFrequent(file: string, calls: string): { call: string; count: number } {
  const counts = new Map<string, number>();
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const made = /^\d+ +\w+(?=\()/.exec(line)?.[0];
    if (made !== undefined) counts.set(made, (counts.get(made) ?? 0) + 1);
  }
  let most = { call: calls, count: 0 };
  for (const [made, count] of counts) {
    const call = made.split(/ +/)[1] ?? '';
    if (calls.split(',').includes(call) && count > most.count) most = { call, count };
  }
  return most;
}

/** Runs a command in which some system calls fail, or end it; its children are left alone. */
export function injected(calls: string, fault: string): string[] {
  const inject = `inject=${calls}:${fault}`;
  return [...tracedAlone('/dev/null', calls), '-e', inject];
}

/** Kills a command that takes longer, whatever it can no longer hear. */
export function within(seconds: number): string[] {
  return [TIMEOUT, '--signal=KILL', `${seconds}`];
}

/** Runs a command without a network. */
export const withoutNetwork = [UNSHARE, ...NAMESPACE, '--net'];

/** Runs a command whose processes have numbers of their own, of which it can choose the next. */
export const withOwnNumbers = [UNSHARE, ...NAMESPACE, '--pid', '--fork', '--mount-proc', '--kill-child'];

/** Runs a command after shell commands that mount something for it alone. */
export function withMounts(script: string): string[] {
  const quiet = `( PATH=${SYSTEM_PATH}; set -e\n${script}\n) || exit 99\nexec "$@"`;
  return [UNSHARE, ...NAMESPACE, '--mount', '/bin/sh', '-c', quiet, 'sh'];
}

/** Shows a directory with other mount options, such as `ro` or `noexec`. */
export function remounted(directory: string, options: string): string[] {
  return withMounts(
    `mount --bind '${directory}' '${directory}'; mount -o 'remount,bind,${options}' '${directory}'`,
  );
}

/** Runs a command as another user, who may read everything and write where anybody may. */
export function asUser(uid: number): string[] {
  const may = ['--inh-caps', '--ambient-caps', '--bounding-set'].map(
    (set) => `${set}=-all,+dac_read_search`,
  );
  return [SETPRIV, `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', ...may];
}

/** Runs a command where the clocks that count from the start of the machine are ahead. */
export function hoursAhead(hours: number): string[] {
  const seconds = String(hours * 3600);
  return [UNSHARE, ...NAMESPACE, '--time', '--monotonic', seconds, '--boottime', seconds];
}

/** Why a test cannot run here; `undefined` if it can. */
export const missing = {
  root: asRoot ? undefined : 'only root can give files to another user',
  setpriv:
    asRoot && works([...asUser(54_321), '/bin/true'])
      ? undefined
      : 'only root can act as another user, with setpriv',
  time: works([...hoursAhead(1), '/bin/true'])
    ? undefined
    : 'unshare is missing or may not make a time namespace',
  strace: works([...traced('/dev/null', 'execve'), '/bin/true'])
    ? undefined
    : 'strace is missing or may not trace',
  network: works([...withoutNetwork, '/bin/true'])
    ? undefined
    : 'unshare is missing or may not make a network namespace',
  numbers: works([...withOwnNumbers, 'sh', '-c', 'echo 9 > /proc/sys/kernel/ns_last_pid'])
    ? undefined
    : 'unshare is missing or may not make a namespace of processes',
  mount: works([...withMounts('mount -t tmpfs tmpfs /mnt'), '/bin/true'])
    ? undefined
    : 'unshare is missing or may not mount file systems',
};
