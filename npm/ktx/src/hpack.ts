// HPACK (RFC 7541), as much as a client of gRPC needs: it writes fields without compressing them, and
// reads those that it has to know: the HTTP status and the fields that HTTP/2 has no number for.

/** Fields by name. */
export type Fields = Record<string, string>;

/** Bytes are no block of header fields. */
export class HpackError extends Error {}

// Static table entries 8 to 14 are `:status` with these values.
const FIRST_STATUS = 8;
const STATUSES = ['200', '204', '206', '304', '400', '404', '500'];
const STATIC_ENTRIES = 61;
const LITERAL_NEVER_INDEXED = 0x10;
const HUFFMAN = 0x80;
const LONGEST_INTEGER_BITS = 28;

/** Writes fields as a block that changes no state on the other side. */
export function writeFields(fields: Fields): Buffer {
  const parts = Object.entries(fields).flatMap(([name, value]) => [
    Buffer.of(LITERAL_NEVER_INDEXED),
    ...text(name),
    ...text(value),
  ]);
  return Buffer.concat(parts);
}

function text(value: string): Buffer[] {
  const bytes = Buffer.from(value, 'latin1');
  return [integer(bytes.length, 7), bytes];
}

// Section 5.1, with nothing in the bits before it.
function integer(value: number, bits: number): Buffer {
  const limit = (1 << bits) - 1;
  if (value < limit) return Buffer.of(value);
  const bytes = [limit];
  let rest = value - limit;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}

/**
 * Reads a block from a server that was told to keep no table.
 *
 * @throws {@link HpackError}
 */
export function readFields(block: Buffer): Fields {
  return new FieldReader(block).read();
}

class FieldReader {
  readonly #block: Buffer;
  #at = 0;

  constructor(block: Buffer) {
    this.#block = block;
  }

  read(): Fields {
    const fields: Fields = {};
    while (this.#at < this.#block.length) {
      const first = this.#block[this.#at] as number;
      if (first >= 0x80) {
        const status = STATUSES[this.#index(7) - FIRST_STATUS];
        if (status !== undefined) fields[':status'] = status;
      } else if (first >= 0x40) this.#literal(fields, 6);
      else if (first >= 0x20) this.#integer(5);
      else this.#literal(fields, 4);
    }
    return fields;
  }

  #literal(fields: Fields, bits: number): void {
    const index = this.#index(bits);
    const name = index === 0 ? this.#text() : nameOf(index);
    const value = this.#text();
    if (name !== undefined) fields[name] = value;
  }

  #index(bits: number): number {
    const index = this.#integer(bits);
    if (index > STATIC_ENTRIES) throw new HpackError('A field refers to a table that there is not');
    return index;
  }

  #text(): string {
    const isCoded = ((this.#block[this.#at] ?? 0) & HUFFMAN) !== 0;
    const length = this.#integer(7);
    const start = this.#at;
    this.#at += length;
    if (this.#at > this.#block.length) throw cut();
    if (!isCoded) return this.#block.toString('latin1', start, this.#at);
    return huffmanText(this.#block.subarray(start, this.#at));
  }

  #integer(bits: number): number {
    const limit = (1 << bits) - 1;
    let value = this.#byte() & limit;
    if (value < limit) return value;
    for (let shift = 0; ; shift += 7) {
      if (shift >= LONGEST_INTEGER_BITS) throw new HpackError('A number is too large');
      const byte = this.#byte();
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  #byte(): number {
    const byte = this.#block[this.#at++];
    if (byte === undefined) throw cut();
    return byte;
  }
}

function nameOf(index: number): string | undefined {
  return STATUSES[index - FIRST_STATUS] === undefined ? undefined : ':status';
}

function cut(): HpackError {
  return new HpackError('The fields end too early');
}

// Appendix B: the length of each symbol's code, in base 36. The codes follow from them, being given
// in the order of length and symbol. The last symbol ends the text and never occurs.
const CODE_LENGTHS =
  'dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad67777777777777777777777878d' +
  'jde6f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnn' +
  'kmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrqu';
const END_OF_TEXT = 256;

interface Code {
  /** Codes of each length: the first one, how many, and where their symbols begin. */
  first: number[];
  count: number[];
  start: number[];
  /** In the order of their codes. */
  symbols: number[];
}

let code: Code | undefined;

function huffmanCode(): Code {
  const lengths = [...CODE_LENGTHS].map((digit) => Number.parseInt(digit, 36));
  const symbols = lengths.map((_, symbol) => symbol);
  symbols.sort((a, b) => (lengths[a] as number) - (lengths[b] as number) || a - b);
  const made: Code = { first: [0], count: [0], start: [0], symbols };
  let next = 0;
  let start = 0;
  for (let length = 1; length <= Math.max(...lengths); length++) {
    const count = lengths.filter((other) => other === length).length;
    next *= 2;
    made.first.push(next);
    made.count.push(count);
    made.start.push(start);
    next += count;
    start += count;
  }
  return made;
}

function huffmanText(bytes: Buffer): string {
  code ??= huffmanCode();
  const { first, count, start, symbols } = code;
  const read: number[] = [];
  let bits = 0;
  let length = 0;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      bits = bits * 2 + ((byte >> bit) & 1);
      length += 1;
      const offset = bits - (first[length] ?? 0);
      if (offset >= (count[length] ?? 0)) continue;
      const symbol = symbols[(start[length] as number) + offset] as number;
      if (symbol === END_OF_TEXT) throw new HpackError('A text has an end inside of it');
      read.push(symbol);
      bits = 0;
      length = 0;
    }
  }
  // What is left is padding: up to seven bits of the code that ends the text, all of them ones.
  if (length > 7 || bits !== 2 ** length - 1) throw cut();
  return Buffer.from(read).toString('latin1');
}
