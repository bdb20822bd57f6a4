// What becomes of JavaScript values on their way to Python, and of Python's on their way back.
import { describe, expect, it } from 'vitest';
import { decodeValue } from '../src/decode-value.js';
import { encodeValue } from '../src/encode-value.js';

const hex = (value: unknown): string => encodeValue(value, 'upstream').toString('hex');
const read = (text: string): unknown => decodeValue(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const there = (value: unknown): unknown => decodeValue(encodeValue(value, 'upstream'));

describe('a value', () => {
  class Point {
    x = 1;
    y = [2];
  }

  it.each<[string, unknown]>([
    ['null', null],
    ['true', true],
    ['an empty string', ''],
    ['a short string', 'é'],
    ['a string of 31 bytes', 'x'.repeat(31)],
    ['a string of 32 bytes', 'x'.repeat(32)],
    ['a string of 255 bytes', 'x'.repeat(255)],
    ['a string of 256 bytes', 'x'.repeat(256)],
    ['a string of 65536 bytes', 'ü'.repeat(32_768)],
    ['characters beyond the first plane', '😀'.repeat(20)],
    ['an empty list', []],
    ['a list of 15', Array.from({ length: 15 }, (_, index) => index)],
    ['a list of 16', Array.from({ length: 16 }, (_, index) => index)],
    ['a list of 65536', Array.from({ length: 65_536 }, (_, index) => index)],
    ['an empty object', {}],
    ['an object of 16', Object.fromEntries(Array.from({ length: 16 }, (_, index) => [`k${index}`, index]))],
    ['nested data', { a: [{ b: null }, [[]]], 'ключ': { '': '' } }],
    ['a Map', new Map<unknown, unknown>([[1, 'one'], [null, [new Map([[true, {}]])]]])],
    ['a Set', new Set<unknown>([1, 'a', new Set()])],
    ['a Buffer', Buffer.from([0, 255, 128])],
    ['a large Buffer', Buffer.alloc(70_000, 7)],
    ['a Date', new Date('2026-11-21T08:09:10.123Z')],
    ['a Date before 1970', new Date(-1)],
    ['the first Date', new Date(-8.64e15)],
    ['the last Date', new Date(8.64e15)],
  ])('comes back: %s', (_what, value) => {
    expect(there(value)).toStrictEqual(value);
  });

  it.each<number | bigint>([
    0, 1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40, 2 ** 53 - 1,
    -1, -32, -33, -128, -129, -32_768, -32_769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53) + 1,
    0.1, -0, 1e300, 5e-324, Number.NaN, Infinity, -Infinity,
    2n ** 53n, -(2n ** 53n), 2n ** 63n, 2n ** 64n - 1n, -(2n ** 63n), 2n ** 64n, -(2n ** 63n) - 1n,
    2n ** 200n + 7n, -(2n ** 200n) - 7n, 2n ** 71n - 1n, -(2n ** 71n), 2n ** 71n,
  ])('is exact: %s', (value) => {
    expect(Object.is(there(value), value)).toBe(true);
  });

  it('takes the smallest form of an integer', () => {
    expect([127, 128, 2 ** 32, -33, 5n, 2n ** 64n].map(hex)).toEqual([
      '7f', 'cc80', 'cf0000000100000000', 'd0df', '05', 'c90000000900010000000000000000',
    ]);
    expect(hex(-0)).toBe('cb8000000000000000');
    expect(hex(2 ** 60)).toBe('cf1000000000000000');
    expect(hex(1e30)).toBe('cb46293e5939a08cea');
  });

  it('is nil where there is nothing', () => {
    // oxlint-disable-next-line no-sparse-arrays
    expect(there([undefined, , { a: undefined }])).toEqual([null, null, { a: null }]);
  });

  it('may be an object of any class that only holds data', () => {
    expect(there(new Point())).toEqual({ x: 1, y: [2] });
    expect(there(Object.assign(Object.create(null), { a: 1 }))).toEqual({ a: 1 });
  });

  it('keeps keys that mean something to JavaScript', () => {
    const value = JSON.parse('{"__proto__":{"x":1},"constructor":2,"toString":3}');
    const back = there(value) as object;
    expect(JSON.stringify(back)).toBe(JSON.stringify(value));
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype);
  });

  it('may be large', () => {
    const text = 'ä'.repeat(5_000_000);
    expect(there(text)).toBe(text);
    const floats = Array.from({ length: 1_000_000 }, (_, index) => index / 3);
    expect(there(floats)).toEqual(floats);
  });
});

describe('what has no form in Python', () => {
  const cycle: unknown[] = [];
  cycle.push(cycle);

  it.each<[unknown, string]>([
    [() => 1, '`upstream` is a function, which has no form in Python'],
    [{ a: [1, Symbol('s')] }, '`upstream["a"][1]` is a symbol, which has no form in Python'],
    [new Map([['k', new Map([[7, /x/]])]]), '`upstream["k"][7]` is of type RegExp, which has no form in Python'],
    [[Promise.resolve()], '`upstream[0]` is of type Promise, which has no form in Python'],
    [new Error('e'), '`upstream` is of type Error, which has no form in Python'],
    [new Float64Array(1), '`upstream` is of type Float64Array, which has no form in Python'],
    [{ d: new Date(Number.NaN) }, '`upstream["d"]` is an invalid Date'],
    [['\ud800'], '`upstream[0]` has a lone surrogate, which has no form in UTF-8'],
    [{ 'x\udc00': 1 }, '`upstream["x\\udc00"]` has a lone surrogate, which has no form in UTF-8'],
  ])('is refused with its place: %s', (value, message) => {
    expect(() => hex(value)).toThrow(expect.objectContaining({ code: 'KTX_USAGE', message }));
  });

  it('is refused when it has no end', () => {
    expect(() => hex(cycle)).toThrow(/is nested more than 120 levels deep, or contains itself$/);
    const nested = (depth: number): unknown => (depth === 0 ? [] : [nested(depth - 1)]);
    expect(there(nested(119))).toEqual(nested(119));
    expect(() => hex(nested(120))).toThrow(/more than 120 levels/);
  });
});

describe('what Python writes', () => {
  it.each<[string, unknown]>([
    ['d4 00 ff', -1n],
    ['d8 00 01000000000000000000000000000000', 2n ** 120n],
    ['c7 00 00', 0n],
    ['d5 01 91 01', new Set([1])],
    ['c7 05 02 94 01 c0 c3 c2', new Map<unknown, unknown>([[1, null], [true, false]])],
    ['d6 ff 00000001', new Date(1000)],
    ['d7 ff 0bebc200 00000001', new Date(1050)],
    ['c7 0c ff 3b9ac9ff ffffffffffffffff', new Date(-1)],
    ['ca 3fc00000', 1.5],
    ['cf ffffffffffffffff', 2n ** 64n - 1n],
    ['d3 8000000000000000', -(2n ** 63n)],
    ['c5 0001 07', Buffer.from([7])],
    ['db 00000001 61', 'a'],
    ['dd 00000001 c0', [null]],
    ['df 00000001 a161 01', { a: 1 }],
  ])('is read: %s', (bytes, value) => {
    expect(read(bytes)).toStrictEqual(value);
  });

  it.each(['', 'c1', '01 01', '91', 'a2 61', 'cd 01', '81 01 01', 'd4 07 00', 'd4 01 00', 'c6 ffffffff 00', 'dd ffffffff'])(
    'is refused when it is none: %s',
    (bytes) => {
      expect(() => read(bytes)).toThrow(RangeError);
    },
  );
});
