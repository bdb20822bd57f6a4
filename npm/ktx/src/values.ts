// The forms of values on their way to Python and back: MessagePack with the extension types that
// docs/values.md lists. The libraries for it round integers beyond 32 or 53 bits, lose the sign of
// -0, rename the key `__proto__` or write functions as nothing, none of which may happen here.

/** Types of MessagePack extensions. */
export const Extension = { integer: 0, set: 1, map: 2, timestamp: -1 } as const;

/** Up to here a loop in JavaScript is faster than the call that encodes or decodes a string. */
export const SHORT_STRING = 24;
