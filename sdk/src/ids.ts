/** Ids made on the client. */

let last = 0;

/**
 * A UUIDv7 whose text order is the order of making: every id takes a millisecond of its own, so a burst borrows
 * some from the future, and a clock that steps back changes nothing. The queue relies on it when it is read back.
 */
export const uuid7 = (): string => {
  last = Math.max(Date.now(), last + 1);
  const random = crypto.getRandomValues(new Uint8Array(10));
  random[0] = (random[0]! & 15) | 0x70;
  random[2] = (random[2]! & 63) | 0x80;
  const hex = last.toString(16).padStart(12, '0') + [...random].map((b) => (b + 256).toString(16).slice(1)).join('');
  return hex.replace(/(.{8})(....)(....)(....)/, '$1-$2-$3-$4-');
};
