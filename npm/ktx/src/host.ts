// Which platform package this machine needs. The C library is read from the ELF interpreter of the
// running Node: that is the one its addons get, whatever else is installed, and reading it costs
// microseconds where `process.report` costs milliseconds.
import { closeSync, openSync, readSync } from 'node:fs';

/** Id of the platform package for this process, for example `linux-x64-gnu`. */
export function hostPlatform(): string {
  const { platform, arch } = process;
  if (platform === 'linux') return `linux-${arch}-${libcOf(process.execPath)}`;
  if (platform === 'win32') return `win32-${arch}-msvc`;
  return `${platform}-${arch}`;
}

/** C library that an ELF executable asks for; `gnu` when it does not say. */
export function libcOf(executable: string): 'gnu' | 'musl' {
  return elfInterpreter(executable)?.includes('ld-musl') ? 'musl' : 'gnu';
}

const PT_INTERP = 3;
const ELF_MAGIC = 0x7f454c46;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const HEADER_BYTES = 64;
const PATH_MAX = 4096;

// Offsets are those of Elf64_Ehdr and Elf64_Phdr in elf(5); Node has no 32-bit builds that matter.
function elfInterpreter(executable: string): string | undefined {
  let file: number;
  try {
    file = openSync(executable, 'r');
  } catch {
    return undefined;
  }
  try {
    const header = readAt(file, 0, HEADER_BYTES);
    if (header.length < HEADER_BYTES || header.readUInt32BE(0) !== ELF_MAGIC) return undefined;
    if (header[4] !== CLASS_64 || header[5] !== LITTLE_ENDIAN) return undefined;
    const entryBytes = header.readUInt16LE(54);
    const entries = header.readUInt16LE(56);
    const table = readAt(file, Number(header.readBigUInt64LE(32)), entryBytes * entries);
    for (let at = 0; at + 40 <= table.length; at += entryBytes) {
      if (table.readUInt32LE(at) !== PT_INTERP) continue;
      const length = Math.min(Number(table.readBigUInt64LE(at + 32)), PATH_MAX);
      return readAt(file, Number(table.readBigUInt64LE(at + 8)), length).toString('latin1');
    }
    return undefined;
  } catch {
    return undefined;
  } finally {
    closeSync(file);
  }
}

function readAt(file: number, position: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(file, buffer, 0, length, position));
}
