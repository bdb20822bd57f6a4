// What users read when the native addon cannot be loaded. The platform packages are planted: a
// wrong platform or a broken download cannot be had otherwise.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hostPlatform, libcOf } from '../src/host.js';
import { DIST, type Finished, ktx, temporaryDirectory } from './support.js';

const packageRoot = join(DIST, '..');
const { name, version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
const host = `${name}-${hostPlatform()}`;

interface Planted {
  name: string;
  main: string;
  content?: string;
}

async function status(folder: string, ...planted: Planted[]): Promise<Finished> {
  const modules = join(temporaryDirectory(), folder);
  const root = join(modules, name);
  mkdirSync(root, { recursive: true });
  cpSync(DIST, join(root, 'dist'), { recursive: true });
  cpSync(join(packageRoot, 'package.json'), join(root, 'package.json'));
  for (const { name: planted_, main, content } of planted) {
    const directory = join(modules, planted_);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'package.json'), JSON.stringify({ name: planted_, main }));
    if (content !== undefined) writeFileSync(join(directory, main), content);
  }
  return await ktx(['runtime', 'status'], { cli: join(root, 'dist', 'cli.cjs') });
}

describe('a missing platform package', () => {
  it('is named, with the command that installs it', async () => {
    expect(await status('node_modules')).toEqual({
      code: 1,
      signal: null,
      stdout: '',
      stderr: `Cannot find the package ${host}\nFix: Run: npm install --include=optional ${name}@${version}\n`,
    });
  });

  it('is told apart from node_modules of another platform', async () => {
    const other = `${name}-${process.platform === 'win32' ? 'linux-x64-gnu' : 'win32-x64-msvc'}`;
    const { stderr } = await status('node_modules', { name: other, main: 'ktx.node', content: '' });
    expect(stderr).toContain(`Cannot find the package ${host}\nFound instead: ${other}, so node_modules`);
    expect(stderr).toMatch(
      new RegExp(`Fix: Remove node_modules .* --os=${process.platform} --cpu=${process.arch} `),
    );
  });

  const onLinux = it.runIf(process.platform === 'linux');

  onLinux('is told apart from one for another C library (only Linux has two)', async () => {
    const other = host.endsWith('-gnu') ? host.replace('-gnu', '-musl') : host.replace('-musl', '-gnu');
    const { stderr } = await status('node_modules', { name: other, main: 'ktx.node', content: '' });
    expect(stderr).toContain(`Found instead: ${other}, which is for another C library`);
  });

  it('is explained in the words of the package manager', async () => {
    const { stderr } = await status('.pnpm/x/node_modules');
    expect(stderr).toContain('Fix: Run: pnpm install --force');
  });
});

describe('a broken platform package', () => {
  it('without its addon says so', async () => {
    const { code, stderr } = await status('node_modules', { name: host, main: 'ktx.node' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^Cannot load the native addon in .*: Cannot find module '.*ktx\.node'/);
    expect(stderr).toContain(`Fix: Run: npm install --include=optional ${name}@${version}`);
  });

  it('with a corrupt addon gives the error of the system', async () => {
    const { stderr } = await status('node_modules', { name: host, main: 'ktx.node', content: 'junk' });
    expect(stderr).toMatch(/^Cannot load the native addon in .*ktx\.node/);
  });

  it('of another version names both versions', async () => {
    const { stderr } = await status('node_modules', {
      name: host,
      main: 'index.js',
      content: "exports.version = () => '9.9.9';",
    });
    expect(stderr).toBe(
      `${host} is version 9.9.9, and ${name} ${version} needs version ${version}\n` +
        `Fix: Run: npm install --include=optional ${host}@${version}\n`,
    );
  });
});

describe('the C library', () => {
  // Elf64_Ehdr and one Elf64_Phdr of type PT_INTERP, as in elf(5).
  const elf = (interpreter: string): Buffer => {
    const bytes = Buffer.alloc(120);
    bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
    bytes.writeBigUInt64LE(64n, 32);
    bytes.writeUInt16LE(56, 54);
    bytes.writeUInt16LE(1, 56);
    bytes.writeUInt32LE(3, 64);
    bytes.writeBigUInt64LE(120n, 72);
    bytes.writeBigUInt64LE(BigInt(interpreter.length), 96);
    return Buffer.concat([bytes, Buffer.from(interpreter)]);
  };

  it.each([
    ['musl', elf('/lib/ld-musl-x86_64.so.1\0')],
    ['gnu', elf('/lib64/ld-linux-x86-64.so.2\0')],
    ['gnu', elf('/nix/store/x-glibc-2.40/lib/ld-linux-x86-64.so.2\0')],
    ['gnu', Buffer.from('#!/bin/sh\n')],
    ['gnu', elf('').subarray(0, 70)],
  ] as const)('is %s', (libc, bytes) => {
    const file = join(temporaryDirectory(), 'node');
    writeFileSync(file, bytes);
    expect(libcOf(file)).toBe(libc);
  });
});
