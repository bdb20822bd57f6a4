// JSON as Python writes it: an integer that a JavaScript number cannot hold arrives as a `bigint`
// instead of rounded. `JSON.parse` shows its callers the source text only from Node 21 on.
import { randomUUID } from 'node:crypto';

// A string, or a number; strings come first so that digits inside of one are passed over.
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const INTEGER = /^-?\d+$/;
const LONG_DIGITS = /\d{16}/;

/** Parses JSON; integers beyond ±(2^53 - 1) become `bigint`. */
export function parseExact(text: string): unknown {
  if (!LONG_DIGITS.test(text)) return JSON.parse(text);
  // Random, so that no string of the document can pass for a marked integer.
  const mark = `${randomUUID()}:`;
  const marked = text.replace(TOKEN, (token) =>
    INTEGER.test(token) && !Number.isSafeInteger(Number(token)) ? `"${mark}${token}"` : token,
  );
  return JSON.parse(marked, (_key, value: unknown) =>
    typeof value === 'string' && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value,
  );
}
