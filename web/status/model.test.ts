import { curve, duration, latency, number, rate } from './model';

test('numbers, durations and latencies read well, and unknown ones do not break', () => {
  expect([number(1234.6), number(12.34), number(0), number(null), number(undefined)]).toEqual(['1,235', '12.3', '0', '–', '–']);
  expect([4_200, 65_000, 3_600_000, 90_061_000, null].map(duration)).toEqual(['4.2 s', '1 min 5 s', '1 h', '1 d 1 h', '–']);
  expect([latency(1.234), latency(45.6), latency(null)]).toEqual(['1.2 ms', '46 ms', '–']);
});

test('the rate is the server`s, else from totals, else unknown', () => {
  const status = (total: number) => ({ events: { total, perSecond: null } });
  expect(rate({ events: { perSecond: 5, total: 1 } }, undefined, 0)).toBe(5);
  expect(rate(status(150), { total: 100, at: 0 }, 2_000)).toBe(25);
  expect(rate(status(50), { total: 100, at: 0 }, 2_000)).toBeUndefined();
  expect(rate({}, undefined, 0)).toBeUndefined();
});

test('the curve ends at the right edge under a round top', () => {
  expect(curve([0, 30], 3, 100, 50)).toMatchObject({ top: 50, line: 'M50.0 48.0L100.0 21.6' });
  expect(curve([], 3, 100, 50).line).toBe('');
});
