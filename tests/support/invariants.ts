// What must hold after every fault, whatever it was.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect } from 'vitest';
import { User, type UserOptions, fingerprint, ktxModule, temporaryDirectory } from './user.js';

const { readManagedPythonRuntimeStatus } = ktxModule;

/** A user whose home, working directory and temporary directory hold only what is not ktx's. */
export interface Neighbour {
  user: User;
  /** Fails if any of that was changed, removed or added to. */
  expectUntouched(): void;
}

/** Makes a user whose runtime root lies apart, so that a change to their home shows. */
export function neighbour(options: UserOptions = {}): Neighbour {
  const home = temporaryDirectory('home-');
  mkdirSync(join(home, '.venv/bin'), { recursive: true });
  writeFileSync(join(home, '.venv/pyvenv.cfg'), 'home = /usr/bin\n');
  writeFileSync(join(home, 'notes'), 'mine\n');
  mkdirSync(join(home, 'tmp'));
  const place = temporaryDirectory('place-');
  writeFileSync(join(place, 'notes'), 'mine\n');
  const root = join(place, 'root');
  const env = { TMPDIR: join(home, 'tmp'), ...options.env };
  const user = new User({ home, root, ...options, env });
  const before = fingerprint(home);
  return {
    user,
    expectUntouched() {
      expect(fingerprint(home)).toBe(before);
      const own = ['notes', 'root', 'root.lock'];
      expect(readdirSync(place).filter((name) => !own.includes(name))).toEqual([]);
      expect(readFileSync(join(place, 'notes'), 'utf8')).toBe('mine\n');
    },
  };
}

/** What status calls ready runs, and whatever it says, one plain installation heals. */
export async function expectHeals(user: User): Promise<void> {
  const { kind } = await readManagedPythonRuntimeStatus(user.options);
  if (kind === 'ready') await user.expectRuns();
  const done = await user.ktx(['runtime', 'install', '--yes']);
  expect(done).toMatchObject({ code: 0, stderr: '' });
  expect(await readManagedPythonRuntimeStatus(user.options)).toMatchObject({ kind: 'ready' });
  await user.expectRuns();
}

/** All that can tell one installation from another, without its place and time. */
export function installation(user: User): unknown {
  const neutral = (text: string) => text.replaceAll(user.root, '<root>');
  const manifest = JSON.parse(neutral(readFileSync(user.manifestPath, 'utf8')));
  const venv = join(user.versionDir, '.venv');
  const files: Record<string, string> = {};
  for (const entry of readdirSync(venv, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const bytes = entry.isFile() ? readFileSync(path, 'latin1') : '';
    files[relative(venv, path)] = digest(withoutTimes(path, neutral(bytes)));
  }
  return {
    features: manifest.features,
    python: manifest.python,
    asset: manifest.asset,
    packages: manifest.evidence.packages,
    files,
    commands: neutral(user.log)
      .replaceAll(/\.attempt-\w+/g, '.attempt')
      .split('\n')
      .filter((line) => line.startsWith('$ ')),
  };
}

// uv notes where a wheel lay and when it was written; compiled modules hold such a time too.
const NOTES = /\/(?:direct_url|uv_cache)\.json$|\.pyc$/;

function withoutTimes(path: string, text: string): string {
  if (NOTES.test(path)) return '';
  if (!path.endsWith('/RECORD')) return text;
  const lines = text.split('\n').filter((line) => !NOTES.test(line.split(',')[0] ?? ''));
  return lines.join('\n');
}

function digest(text: string): string {
  return createHash('sha256').update(text, 'latin1').digest('hex');
}
