/** What `/status.json` says, and how its numbers are put into words. Any of them may be missing. */

type Maybe<T> = T | null | undefined;

export interface Status {
  version?: Maybe<string>;
  uptimeMs?: Maybe<number>;
  ready?: Maybe<boolean>;
  /** Whether the demo shop is served. */
  shop?: Maybe<boolean>;
  plan?: Maybe<{ version?: Maybe<number> }>;
  events?: Maybe<{ total?: Maybe<number>; rejected?: Maybe<number>; perSecond?: Maybe<number> }>;
  profiles?: Maybe<number>;
  sessions?: Maybe<number>;
  journal?: Maybe<{ seq?: Maybe<number>; durable?: Maybe<number> }>;
  checkpoint?: Maybe<{ seq?: Maybe<number>; ageMs?: Maybe<number> }>;
  pushes?: Maybe<{ total?: Maybe<number>; perSecond?: Maybe<number> }>;
  reactions?: Maybe<{ total?: Maybe<number> }>;
  ackMs?: Maybe<{ p50?: Maybe<number>; p99?: Maybe<number> }>;
}

const digits = new Intl.NumberFormat('en-US');

/** `–` when unknown; whole from 100 on, one decimal below. */
export const number = (value: Maybe<number>): string =>
  value == null || !Number.isFinite(value) ? '–' : digits.format(Math.abs(value) < 100 ? Math.round(value * 10) / 10 : Math.round(value));

/** The two largest units: `3 d 4 h`, `12 min 5 s`, `4.2 s`. */
export const duration = (ms: Maybe<number>): string => {
  if (ms == null || !Number.isFinite(ms)) return '–';
  if (ms < 10_000) return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
  const seconds = Math.floor(ms / 1000);
  const units: [number, string][] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  const first = units.findIndex(([size]) => seconds >= size);
  return units
    .slice(first, first + 2)
    .map(([size, unit], i) => [Math.floor((i ? seconds % units[first]![0] : seconds) / size), unit] as const)
    .filter(([count], i) => i === 0 || count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(' ');
};

export const latency = (ms: Maybe<number>): string => (ms == null || !Number.isFinite(ms) ? '–' : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`);

/** The server's own rate, or the one between two totals when it has none. */
export const rate = (status: Status, before: { total: number; at: number } | undefined, at: number): number | undefined => {
  const { perSecond, total } = status.events || {};
  if (perSecond != null) return perSecond;
  // A total that falls is a server that restarted.
  if (total == null || !before || total < before.total || at <= before.at) return undefined;
  return ((total - before.total) * 1000) / (at - before.at);
};

/**
 * The curve through `values` in a `width` × `height` box, newest at the right edge, with room for `slots`.
 * `top` is the value at the upper edge: a round number above the maximum, so that the scale does not twitch.
 */
export const curve = (values: number[], slots: number, width: number, height: number): { line: string; area: string; top: number } => {
  const peak = Math.max(1, ...values);
  const power = 10 ** Math.floor(Math.log10(peak));
  const top = [1, 2, 5, 10].map((step) => step * power).find((step) => step >= peak)!;
  const at = (i: number) => width - ((values.length - 1 - i) * width) / (slots - 1);
  const points = values.map((value, i) => `${at(i).toFixed(1)} ${(height - 2 - (value / top) * (height - 6)).toFixed(1)}`);
  if (!points.length) return { line: '', area: '', top };
  const line = 'M' + points.join('L');
  return { line, area: `${line}L${width} ${height}L${at(0).toFixed(1)} ${height}Z`, top };
};
