/**
 * Runs `use` on `localStorage`. Even reading that name may throw (sandboxed frames, blocked cookies), and writing
 * throws when it is full; what is lost then is persistence only, as queue and state are in memory as well.
 */
export const storage = <T>(use: (area: Storage) => T): T | undefined => {
  try {
    return use(localStorage);
  } catch {
    return undefined;
  }
};
