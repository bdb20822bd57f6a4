// Bytes as they may come back from a disk, or from whoever edited them. A seed fixes each damage, so
// that one that shows something can be done again.
import { type Random, generator, pick, seed } from './random.js';

/** Bytes as `read`, and how they came about. */
export interface Damage {
  bytes: Buffer;
  /** What to set, and which damage it is, to have the same one again. */
  label: string;
}

/** What belongs into no file of ours. */
const HOSTILE = [
  '\0',
  '\u{feff}',
  '../',
  '../../../../etc/passwd',
  '/dev/null',
  '/proc/self/exe',
  String.raw`C:\Windows\x`,
  String.raw`\ud800`,
  'x'.repeat(5000),
  '['.repeat(2000),
  '{"a":'.repeat(2000),
  '1e999',
  '-1',
  '0',
  '1',
  '4294967296',
  '18446744073709551616',
  'null',
  'true',
  '""',
  '{}',
  '[]',
].map((text) => Buffer.from(text));

const VALUE = /"(?:[^"\\]|\\.)*"(?!\s*:)|-?\d+(?:\.\d+)?|\btrue\b|\bfalse\b|\bnull\b/g;
const MEMBER = /"(?:[^"\\]|\\.)*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|-?\d+)/g;

const DAMAGES: ((bytes: Buffer, random: Random) => Buffer)[] = [
  function flipBit(bytes, random) {
    const flipped = Buffer.from(bytes);
    const at = random(bytes.length);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << random(8));
    return flipped;
  },
  function deleteSpan(bytes, random) {
    const [start, end] = span(bytes, random);
    return Buffer.concat([bytes.subarray(0, start), bytes.subarray(end)]);
  },
  function duplicateSpan(bytes, random) {
    const [start, end] = span(bytes, random);
    return Buffer.concat([bytes.subarray(0, end), bytes.subarray(start)]);
  },
  function insertNoise(bytes, random) {
    const noise = Buffer.from(Array.from({ length: 1 + random(16) }, () => random(256)));
    return insert(bytes, random(bytes.length + 1), noise);
  },
  function insertHostile(bytes, random) {
    return insert(bytes, random(bytes.length + 1), pick(HOSTILE, random));
  },
  function byteOrderMark(bytes) {
    return Buffer.concat([Buffer.from('\u{feff}'), bytes]);
  },
  function hostileValue(bytes, random) {
    const value = pick(HOSTILE, random).toString();
    const quoted = random(2) === 0 ? value : JSON.stringify(value);
    return replace(bytes, pick(find(bytes, VALUE), random), quoted);
  },
  function swapValues(bytes, random) {
    const values = find(bytes, VALUE);
    const [one, other] = [pick(values, random), pick(values, random)].toSorted(
      (a, b) => b.index - a.index,
    );
    return replace(replace(bytes, one, other?.[0]), other, one?.[0]);
  },
  function cutValue(bytes, random) {
    const found = pick(find(bytes, VALUE), random);
    const text = found?.[0] ?? '';
    const end = 1 + random(Math.max(1, text.length));
    return replace(bytes, found, text.startsWith('"') ? `${text.slice(0, end)}"` : text.slice(0, end));
  },
  function duplicateKey(bytes, random) {
    const member = pick(find(bytes, MEMBER), random);
    return replace(bytes, member, `${member?.[0]}, ${member?.[0]}`);
  },
];

/** The first `count` of an endless row of damages, of which each is one to three at once. */
export function* damages(bytes: Buffer, count: number): Generator<Damage> {
  for (let index = 0; index < count; index += 1) {
    const random = generator(seed + index);
    let damaged = bytes;
    for (let times = 1 + random(3); times > 0; times -= 1) {
      damaged = pick(DAMAGES, random)(damaged.length > 0 ? damaged : bytes, random);
    }
    yield { bytes: damaged, label: `KTX_FAULTS_SEED=${seed}, damage ${index}` };
  }
}

/** The bytes cut at `count` places: evenly spread, with both ends, or everywhere. */
export function* truncations(bytes: Buffer, count = bytes.length): Generator<Damage> {
  const places = Math.min(count, bytes.length);
  for (let index = 0; index < places; index += 1) {
    const end = Math.floor((index * (bytes.length - 1)) / Math.max(1, places - 1));
    yield { bytes: bytes.subarray(0, end), label: `the first ${end} bytes` };
  }
}

function span(bytes: Buffer, random: Random): [number, number] {
  const start = random(bytes.length);
  return [start, start + 1 + random(Math.min(64, bytes.length - start))];
}

function insert(bytes: Buffer, at: number, what: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), what, bytes.subarray(at)]);
}

// One character for each byte, so that places in the text are places in the bytes.
function find(bytes: Buffer, pattern: RegExp): RegExpExecArray[] {
  return [...bytes.toString('latin1').matchAll(pattern)] as RegExpExecArray[];
}

function replace(bytes: Buffer, found: RegExpExecArray | undefined, text = ''): Buffer {
  if (found === undefined) return bytes;
  const end = found.index + found[0].length;
  return Buffer.concat([
    bytes.subarray(0, found.index),
    Buffer.from(text, 'latin1'),
    bytes.subarray(end),
  ]);
}
