/** What the demo's read endpoint says about the visitor: the same JSON as `GET /api/v1/profiles/{id}`. */

export interface Profile {
  id: string;
  identities?: { userId: string; type: string; isAnonymous: boolean }[];
  customTraits?: Record<string, unknown>;
  computedTraits?: Record<string, unknown>;
  audiences?: { key: string; name: string; enteredAt: string }[];
  funnels?: { key: string; name: string; steps: string[]; step: number }[];
}

const settleMs = 120;
const slowMs = 5_000;

/**
 * Asks again a moment after `poke`, once for many, and every few seconds by itself while the page is visible: an
 * audience can be left by a timer, without anything happening here. Undefined = the profile does not exist yet.
 */
export const watchProfile = (userId: () => string, show: (profile: Profile | undefined) => void): (() => void) => {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asked = 0;

  const ask = async () => {
    const mine = ++asked;
    schedule(slowMs);
    if (document.hidden) return;
    try {
      const response = await fetch('/shop/api/profile?userId=' + encodeURIComponent(userId()));
      if (response.status !== 404 && !response.ok) return;
      const profile = response.ok ? ((await response.json()) as Profile) : undefined;
      // An answer that was overtaken by a later question may be about another person.
      if (mine === asked) show(profile);
    } catch {
      // The server is away; the connection pill says so, and the next try comes by itself.
    }
  };
  const schedule = (ms: number) => {
    clearTimeout(timer);
    timer = setTimeout(() => void ask(), ms);
  };
  schedule(0);
  return () => schedule(settleMs);
};
