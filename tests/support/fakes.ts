// Stand-ins for what cannot be had: a uv of another age, a uv that stops at a chosen moment, and
// package indexes that misbehave.
import { writeFileSync } from 'node:fs';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { run } from './processes.js';
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

/** A wheel of msgpack that runs code whenever an interpreter starts in its environment. */
export async function plantedWheel(
  folder: string,
  witness: string,
  version = '99.0',
): Promise<string> {
  const program = `
import sys, zipfile
folder, witness, name = sys.argv[1:]
info = name + '.dist-info/'
with zipfile.ZipFile(folder + '/' + name + '-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('evil.pth', 'import os; open(' + repr(witness) + ', "w")\\n')
    wheel.writestr('msgpack.py', 'version = 99')
    metadata = 'Metadata-Version: 2.1\\nName: msgpack\\nVersion: ' + name.split('-')[1] + '\\n'
    wheel.writestr(info + 'METADATA', metadata)
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + 'RECORD', '')
`;
  const name = `msgpack-${version}`;
  const made = await run(join(suite.path, 'python3'), ['-c', program, folder, witness, name], {
    env: {},
    cwd: folder,
  });
  expect(made.code).toBe(0);
  return join(folder, `${name}-py3-none-any.whl`);
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
