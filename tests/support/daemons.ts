// Users who run daemons, all of which are gone when their test file ends.
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { afterAll, expect } from 'vitest';
import { eventually } from './processes.js';
import { User, type UserOptions } from './user.js';

/** What `ktx runtime start --json` prints. */
export interface Started {
  status: 'started' | 'reused';
  pid: number;
  endpoint: string;
  stateFile: string;
  version: string;
  features: string[];
}

/** The parts of a state file that tests look at. */
export interface State extends Record<string, unknown> {
  pid: number;
  startTime: number;
  bootId: string;
  endpoint: string;
  token: string;
  logPath: string;
}

const users = new Set<DaemonUser>();

afterAll(async () => {
  for (const user of users) await user.stopAll();
});

/** Somebody with an installed runtime. */
export async function userWithRuntime(options: UserOptions = {}): Promise<DaemonUser> {
  const user = new DaemonUser(options);
  await user.install();
  return user;
}

/** Somebody whose daemons end with the test file. */
export class DaemonUser extends User {
  constructor(options: UserOptions = {}) {
    super(options);
    users.add(this);
  }

  /** Starts a daemon, which has to succeed. */
  async startDaemon(flags: string[] = []): Promise<Started> {
    const done = await this.ktx(['runtime', 'start', '--json', ...flags]);
    expect(done).toMatchObject({ code: 0, stderr: '' });
    return JSON.parse(done.stdout) as Started;
  }

  /** Stops every daemon. */
  async stopAll(): Promise<string> {
    const done = await this.ktx(['runtime', 'stop', '--all']);
    expect(done).toMatchObject({ code: 0, stderr: '' });
    return done.stdout;
  }

  /** What a state file says. */
  state({ stateFile }: { stateFile: string }): State {
    return JSON.parse(readFileSync(stateFile, 'utf8')) as State;
  }
}

/** Whether a process is there and no zombie. */
export function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Processes of a group, zombies left out. */
export function groupOf(pgid: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && isAlive(pid))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]) === pgid;
      } catch {
        return false;
      }
    });
}

/** A process and all its descendants, parents first. */
export function familyOf(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const line of execFileSync('ps', ['-eo', 'pid=,ppid='], { encoding: 'utf8' }).split('\n')) {
    const [child = 0, parent = 0] = line.trim().split(/\s+/).map(Number);
    children.set(parent, [...(children.get(parent) ?? []), child]);
  }
  const family = [pid];
  for (const member of family) family.push(...(children.get(member) ?? []));
  return family;
}

/** Waits until a daemon and everything in its group are gone. */
export async function expectGone(pid: number, seconds = 10): Promise<void> {
  await eventually(
    `process ${pid} and its group to end`,
    () => !isAlive(pid) && groupOf(pid).length === 0,
    seconds,
  );
}

/** Command lines of processes that hold `text`. */
export function commandLines(text: string): string[] {
  const lines = execFileSync('ps', ['-eo', 'args', '--no-headers'], { encoding: 'utf8' });
  return lines.split('\n').filter((line) => line.includes(text) && !line.startsWith('ps '));
}
