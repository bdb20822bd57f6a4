// Writes JavaScript values as Python receives them.
import { KtxError } from './errors.js';
import { Extension, SHORT_STRING } from './values.js';

// As deep as Python's side goes.
const MAX_DEPTH = 120;
const FIRST_BYTES = 256;
const TWO_TO_32 = 2 ** 32;
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * Encodes a value.
 *
 * @throws {@link KtxError} `KTX_USAGE`, which names the place, for what has no form in Python.
 */
export function encodeValue(value: unknown, name: string): Buffer {
  const encoder = new Encoder();
  try {
    encoder.write(value, 1);
  } catch (error) {
    if (!(error instanceof Unencodable)) throw error;
    const place = error.steps.toReversed().map((step) => `[${step}]`).join('');
    throw new KtxError('KTX_USAGE', `\`${name}${place}\` ${error.message}`);
  }
  return encoder.finish();
}

/** A value has no form; the containers around it add the steps that lead to it. */
class Unencodable extends Error {
  readonly steps: string[] = [];
}

class Encoder {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES);
  #at = 0;

  finish(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  write(value: unknown, depth: number): void {
    switch (typeof value) {
      case 'string':
        return this.#string(value);
      case 'number':
        return this.#number(value);
      case 'boolean':
        return this.#byte(value ? 0xc3 : 0xc2);
      case 'undefined':
        return this.#byte(0xc0);
      case 'bigint':
        return this.#bigint(value);
      case 'object':
        return value === null ? this.#byte(0xc0) : this.#object(value, depth);
      default:
        throw new Unencodable(`is a ${typeof value}, which has no form in Python`);
    }
  }

  #object(value: object, depth: number): void {
    if (value instanceof Uint8Array) return this.#binary(value);
    if (value instanceof Date) return this.#date(value);
    if (depth > MAX_DEPTH) {
      throw new Unencodable(`is nested more than ${MAX_DEPTH} levels deep, or contains itself`);
    }
    if (Array.isArray(value)) return this.#array(value, depth);
    if (value instanceof Map) return this.#map(value, depth);
    if (value instanceof Set) {
      return this.#extension(Extension.set, () => this.#array([...value], depth));
    }
    // Data, also of a class of the caller's; not what only looks empty, such as a promise.
    if (Object.prototype.toString.call(value) !== '[object Object]') {
      const type = value.constructor?.name ?? 'object';
      throw new Unencodable(`is of type ${type}, which has no form in Python`);
    }
    this.#record(value as Record<string, unknown>, depth);
  }

  #array(items: unknown[], depth: number): void {
    this.#head(items.length, { fix: 0x90, fixMax: 15, wide: 0xdc });
    let index = 0;
    try {
      for (; index < items.length; index++) this.write(items[index], depth + 1);
    } catch (error) {
      throw leadingTo(error, String(index));
    }
  }

  #record(record: Record<string, unknown>, depth: number): void {
    const keys = Object.keys(record);
    this.#head(keys.length, { fix: 0x80, fixMax: 15, wide: 0xde });
    let key = '';
    try {
      for (key of keys) {
        this.#string(key);
        this.write(record[key], depth + 1);
      }
    } catch (error) {
      throw leadingTo(error, JSON.stringify(key));
    }
  }

  #map(map: Map<unknown, unknown>, depth: number): void {
    this.#extension(Extension.map, () => {
      this.#head(map.size * 2, { fix: 0x90, fixMax: 15, wide: 0xdc });
      let key: unknown;
      let value: unknown;
      try {
        for ([key, value] of map) {
          this.write(key, depth + 1);
          this.write(value, depth + 1);
        }
      } catch (error) {
        throw leadingTo(error, typeof key === 'string' ? JSON.stringify(key) : String(key));
      }
    });
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) return this.#integer(value);
    // Whole numbers up to 64 bits are exact as they are; a larger one is an approximation.
    if (Number.isInteger(value) && value !== 0 && value >= -(2 ** 63) && value < 2 ** 64) {
      return this.#bigint(BigInt(value));
    }
    const at = this.#room(9);
    this.#bytes[at] = 0xcb;
    this.#bytes.writeDoubleBE(value, at + 1);
  }

  #integer(value: number): void {
    if (value >= 0) {
      if (value < 0x80) return this.#byte(value);
      if (value < 0x100) return this.#byte(0xcc, value);
      if (value < 0x10000) return this.#byte(0xcd, value >>> 8, value);
      const at = this.#room(value < TWO_TO_32 ? 5 : 9);
      this.#bytes[at] = value < TWO_TO_32 ? 0xce : 0xcf;
      if (value < TWO_TO_32) this.#bytes.writeUInt32BE(value, at + 1);
      else this.#bytes.writeBigUInt64BE(BigInt(value), at + 1);
      return;
    }
    if (value >= -0x20) return this.#byte(value & 0xff);
    if (value >= -0x80) return this.#byte(0xd0, value);
    if (value >= -0x8000) return this.#byte(0xd1, value >> 8, value);
    const isNarrow = value >= -(2 ** 31);
    const at = this.#room(isNarrow ? 5 : 9);
    this.#bytes[at] = isNarrow ? 0xd2 : 0xd3;
    if (isNarrow) this.#bytes.writeInt32BE(value, at + 1);
    else this.#bytes.writeBigInt64BE(BigInt(value), at + 1);
  }

  #bigint(value: bigint): void {
    if (value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER) {
      return this.#integer(Number(value));
    }
    if (value > 0 && BigInt.asUintN(64, value) === value) {
      const at = this.#room(9);
      this.#bytes[at] = 0xcf;
      this.#bytes.writeBigUInt64BE(value, at + 1);
    } else if (value < 0 && BigInt.asIntN(64, value) === value) {
      const at = this.#room(9);
      this.#bytes[at] = 0xd3;
      this.#bytes.writeBigInt64BE(value, at + 1);
    } else {
      this.#extension(Extension.integer, () => this.#raw(twosComplement(value)));
    }
  }

  #string(text: string): void {
    if (text.length <= SHORT_STRING && this.#shortAscii(text)) return;
    if (LONE_SURROGATE.test(text)) {
      throw new Unencodable('has a lone surrogate, which has no form in UTF-8');
    }
    const length = Buffer.byteLength(text);
    this.#head(length, { fix: 0xa0, fixMax: 31, narrow: 0xd9, wide: 0xda });
    const at = this.#room(length);
    this.#bytes.write(text, at, length, 'utf8');
  }

  #shortAscii(text: string): boolean {
    const start = this.#room(text.length + 1);
    const bytes = this.#bytes;
    bytes[start] = 0xa0 | text.length;
    for (let index = 0; index < text.length; index++) {
      const unit = text.charCodeAt(index);
      if (unit >= 0x80) {
        this.#at = start;
        return false;
      }
      bytes[start + 1 + index] = unit;
    }
    return true;
  }

  #binary(bytes: Uint8Array): void {
    this.#head(bytes.length, { narrow: 0xc4, wide: 0xc5 });
    this.#raw(bytes);
  }

  #date(date: Date): void {
    const time = date.getTime();
    if (Number.isNaN(time)) throw new Unencodable('is an invalid Date');
    const seconds = Math.floor(time / 1000);
    const nanoseconds = (time - seconds * 1000) * 1_000_000;
    const at = this.#room(15);
    this.#bytes[at] = 0xc7;
    this.#bytes[at + 1] = 12;
    this.#bytes.writeInt8(Extension.timestamp, at + 2);
    this.#bytes.writeUInt32BE(nanoseconds, at + 3);
    this.#bytes.writeBigInt64BE(BigInt(seconds), at + 7);
  }

  // The length of what it holds is known afterwards, so it gets the widest form of one.
  #extension(type: number, write: () => void): void {
    const at = this.#room(6);
    write();
    this.#bytes[at] = 0xc9;
    this.#bytes.writeUInt32BE(this.#at - at - 6, at + 1);
    this.#bytes.writeInt8(type, at + 5);
  }

  #head(
    length: number,
    codes: { fix?: number; fixMax?: number; narrow?: number; wide: number },
  ): void {
    if (codes.fix !== undefined && length <= (codes.fixMax ?? 0)) {
      return this.#byte(codes.fix | length);
    }
    if (codes.narrow !== undefined && length < 0x100) return this.#byte(codes.narrow, length);
    if (length < 0x10000) return this.#byte(codes.wide, length >>> 8, length);
    const at = this.#room(5);
    this.#bytes[at] = codes.wide + 1;
    this.#bytes.writeUInt32BE(length, at + 1);
  }

  #raw(bytes: Uint8Array): void {
    // Making room may replace what is written to.
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  #byte(first: number, second?: number, third?: number): void {
    const at = this.#room(third === undefined ? (second === undefined ? 1 : 2) : 3);
    this.#bytes[at] = first;
    if (second !== undefined) this.#bytes[at + 1] = second;
    if (third !== undefined) this.#bytes[at + 2] = third;
  }

  #room(length: number): number {
    const at = this.#at;
    this.#at += length;
    if (this.#at > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#at, this.#bytes.length * 2));
      this.#bytes.copy(grown, 0, 0, at);
      this.#bytes = grown;
    }
    return at;
  }
}

function leadingTo(error: unknown, step: string): unknown {
  if (error instanceof Unencodable) error.steps.push(step);
  return error;
}

function twosComplement(value: bigint): Buffer {
  const isNegative = value < 0n;
  // The bits that tell: of a negative number those that are 0.
  const hex = (isNegative ? -value - 1n : value).toString(16);
  const even = hex.length % 2 === 0 ? hex : `0${hex}`;
  // The first bit is the sign.
  const bytes = Buffer.from(even >= '8' ? `00${even}` : even, 'hex');
  return isNegative ? Buffer.from(bytes.map((byte) => byte ^ 0xff)) : bytes;
}
