// Reads what Python wrote as JavaScript values.
import { Extension, SHORT_STRING } from './values.js';

const TWO_TO_32 = 2 ** 32;
const PLAIN = { configurable: true, enumerable: true, writable: true };

/**
 * Decodes a value.
 *
 * @throws {@link RangeError} for bytes that are not one value.
 */
export function decodeValue(bytes: Uint8Array): unknown {
  const decoder = new Decoder(bytes);
  const value = decoder.read();
  decoder.expectEnd();
  return value;
}

class Decoder {
  readonly #bytes: Buffer;
  // Reads numbers faster than a `Buffer`, and as strictly.
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  expectEnd(): void {
    if (this.#at !== this.#bytes.length) throw new RangeError('There is more than one value');
  }

  read(): unknown {
    const code = this.#view.getUint8(this.#at++);
    if (code < 0x80) return code;
    if (code < 0x90) return this.#record(code & 0x0f);
    if (code < 0xa0) return this.#array(code & 0x0f);
    if (code < 0xc0) return this.#string(code & 0x1f);
    if (code >= 0xe0) return code - 0x100;
    switch (code) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return Buffer.from(this.#take(this.#length(code - 0xc4)));
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#extension(this.#length(code - 0xc7));
      case 0xca:
        return this.#view.getFloat32(this.#step(4));
      case 0xcb:
        return this.#view.getFloat64(this.#step(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#length(code - 0xcc);
      case 0xcf:
        return exact(this.#view.getBigUint64(this.#step(8)));
      case 0xd0:
        return this.#view.getInt8(this.#step(1));
      case 0xd1:
        return this.#view.getInt16(this.#step(2));
      case 0xd2:
        return this.#view.getInt32(this.#step(4));
      case 0xd3:
        return exact(this.#view.getBigInt64(this.#step(8)));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#extension(1 << (code - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#string(this.#length(code - 0xd9));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#length(code - 0xdc + 1));
      case 0xde:
      case 0xdf:
        return this.#record(this.#length(code - 0xde + 1));
      default:
        throw new RangeError(`${code} begins no value`);
    }
  }

  #array(length: number): unknown[] {
    const items: unknown[] = [];
    for (let index = 0; index < length; index++) items.push(this.read());
    return items;
  }

  #record(size: number): Record<string, unknown> {
    const record: Record<string, unknown> = {};
    for (let index = 0; index < size; index++) {
      const key = this.read();
      const value = this.read();
      if (typeof key !== 'string') throw new RangeError('A key is not a string');
      if (key !== '__proto__') record[key] = value;
      // Assigning would set the prototype.
      else Object.defineProperty(record, key, { value, ...PLAIN });
    }
    return record;
  }

  #string(length: number): string {
    const bytes = this.#bytes;
    const start = this.#step(length);
    if (length > SHORT_STRING) return bytes.toString('utf8', start, this.#at);
    let text = '';
    for (let at = start; at < this.#at; at++) {
      const unit = bytes[at] as number;
      if (unit >= 0x80) return bytes.toString('utf8', start, this.#at);
      text += String.fromCharCode(unit);
    }
    return text;
  }

  #extension(length: number): unknown {
    const type = this.#view.getInt8(this.#step(1));
    const payload = this.#take(length);
    switch (type) {
      case Extension.integer:
        return fromTwosComplement(payload);
      case Extension.set:
        return new Set(itemsOf(payload));
      case Extension.map: {
        const items = itemsOf(payload);
        const map = new Map<unknown, unknown>();
        for (let index = 0; index < items.length; index += 2) map.set(items[index], items[index + 1]);
        return map;
      }
      case Extension.timestamp:
        return dateOf(payload);
      default:
        throw new RangeError(`There is no extension type ${type}`);
    }
  }

  // 0, 1 and 2 stand for 8, 16 and 32 bits.
  #length(width: number): number {
    if (width === 0) return this.#view.getUint8(this.#step(1));
    return width === 1 ? this.#view.getUint16(this.#step(2)) : this.#view.getUint32(this.#step(4));
  }

  #take(length: number): Buffer {
    const start = this.#step(length);
    return this.#bytes.subarray(start, this.#at);
  }

  // Goes on by `length` bytes and returns where it was.
  #step(length: number): number {
    const at = this.#at;
    this.#at = at + length;
    if (this.#at > this.#bytes.length) throw new RangeError('The value ends too early');
    return at;
  }
}

function itemsOf(payload: Buffer): unknown[] {
  const items = decodeValue(payload);
  if (!Array.isArray(items)) throw new RangeError('An extension holds no array');
  return items;
}

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

// The three forms of the specification's timestamp.
function dateOf(payload: Buffer): Date {
  if (payload.length === 4) return new Date(payload.readUInt32BE(0) * 1000);
  if (payload.length === 12) {
    return dateAt(Number(payload.readBigInt64BE(4)), payload.readUInt32BE(0));
  }
  const high = payload.readUInt32BE(0);
  return dateAt((high & 3) * TWO_TO_32 + payload.readUInt32BE(4), high >>> 2);
}

function dateAt(seconds: number, nanoseconds: number): Date {
  return new Date(seconds * 1000 + Math.floor(nanoseconds / 1_000_000));
}

function fromTwosComplement(bytes: Buffer): bigint {
  const value = BigInt(`0x${bytes.toString('hex') || '0'}`);
  const isNegative = bytes.length > 0 && bytes.readUInt8(0) >= 0x80;
  return isNegative ? value - (1n << BigInt(bytes.length * 8)) : value;
}
