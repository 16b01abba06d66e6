/** How long an offer lasts. The server decides when it is over; this only tells. */

const dayMs = 86_400_000;

/** The instant that `ends` means at `now`: RFC 3339 text, or `HH:MM`, the next such time of the shop (UTC). */
export const instant = (ends: string, now: number): number => {
  const time = /^(\d\d):(\d\d)$/.exec(ends);
  if (!time) return Date.parse(ends);
  const today = Math.floor(now / dayMs) * dayMs + (Number(time[1]) * 60 + Number(time[2])) * 60_000;
  return today > now ? today : today + dayMs;
};

/** `1:02:03`, `2:03`, and never less than `0:00`. */
export const left = (ms: number): string => {
  const seconds = Math.max(0, Math.ceil(ms / 1000)) || 0;
  const two = (n: number) => String(n).padStart(2, '0');
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
};
