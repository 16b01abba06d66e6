import { expect, test } from 'vitest';
import { instant, left } from './countdown';

test('a time of day is the next one', () => {
  const noon = Date.parse('2026-03-01T12:00:00Z');
  expect(instant('23:59', noon)).toBe(Date.parse('2026-03-01T23:59:00Z'));
  expect(instant('11:00', noon)).toBe(Date.parse('2026-03-02T11:00:00Z'));
  expect(instant('12:00', noon)).toBe(Date.parse('2026-03-02T12:00:00Z'));
  expect(instant('2026-03-01T12:00:30Z', noon)).toBe(noon + 30_000);
});

test('what is left is told in hours, minutes and seconds', () => {
  expect([3_723_000, 123_000, 1_001, 1, 0, -5_000, Number.NaN].map(left)).toEqual(['1:02:03', '2:03', '0:02', '0:01', '0:00', '0:00', '0:00']);
});
