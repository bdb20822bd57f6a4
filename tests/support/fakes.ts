// Stand-ins for what cannot be had: a uv of another age, a uv that stops at a chosen moment, and
// package indexes that misbehave.
import { writeFileSync } from 'node:fs';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { keptUv, suite, temporaryDirectory } from './user.js';

function script(body: string): string {
  const path = join(temporaryDirectory('uv-'), 'uv');
  writeFileSync(path, `#!/bin/sh\nPATH=/usr/bin:/bin:$PATH\n${body}\n`, { mode: 0o755 });
  return path;
}

/** The real uv, which runs shell commands before `uv <words>`. */
export function uvThatBefore(words: 'venv' | 'pip install', commands: string): string {
  return script(`case "$*" in "${words}"*) ${commands} ;; esac\nexec '${keptUv(suite.seed)}' "$@"`);
}

/** The real uv, which never begins `uv <words>`. */
export function uvThatStopsBefore(words: 'venv' | 'pip install'): string {
  return uvThatBefore(words, 'sleep 600');
}

/**
 * The real uv, which adds a line to `begun` in `directory` for every environment that is begun, and
 * one to `overlaps` if that of another process is not finished then.
 */
export function uvThatNotesOverlaps(directory: string): string {
  const atWork = `'${directory}/at-work'`;
  return script(`
case "$*" in venv*)
  mkdir -p ${atWork}/$PPID && echo $PPID >>'${directory}/begun'
  test "$(ls ${atWork} | wc -l)" -eq 1 || echo $PPID >>'${directory}/overlaps'
esac
'${keptUv(suite.seed)}' "$@"
status=$?
case "$*" in 'pip install'*) rmdir ${atWork}/$PPID; esac
exit $status`);
}

/** A uv that only knows its version; gives the directory to put on PATH. */
export function uvOfVersion(version: string): string {
  return join(script(`test "$1" = --version && echo 'uv ${version}'`), '..');
}

/** Serves on loopback until the test ends; gives the address of the package index. */
export async function packageIndex(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/simple`;
}
