/** What every test of the client starts from: fake time, an empty storage, a fake server, and one way to a client. */

import { createLodestone } from '../src/client';
import type { Options } from '../src/types';
import { FakeServer } from './fake';

/** The server of the present test. */
export let server: FakeServer;

beforeEach(() => {
  vi.useFakeTimers();
  vi.advanceTimersByTime(1);
  localStorage.clear();
  server = new FakeServer();
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

export const start = (options: Options = {}, key = 'ls_wk_test') => createLodestone().load(key, { host: 'https://cdp.test', ...options });

/** Lets everything that is due happen, and optionally time pass. */
export const settle = (ms = 1) => vi.advanceTimersByTimeAsync(ms);

/** The keys of what waits in the client's queue. */
export const stored = () => Object.keys(localStorage).filter((key) => key.includes('_q_'));

/** An action as a server sends it. */
export const coupon = (over: object = {}) => ({
  deliveryId: 'im_1',
  id: 'a1',
  type: 'banner',
  version: 1,
  tags: ['shop'],
  properties: { title: 'Hi' },
  ...over,
});
