import { createLodestone } from '../src/client';
import { uuid7 } from '../src/ids';
import type { Options, Result } from '../src/types';
import { FakeServer } from './fake';

let server: FakeServer;

const start = (options: Options = {}, key = 'ls_wk_test') => createLodestone().load(key, { host: 'https://cdp.test', ...options });
/** Lets everything that is due happen, and optionally time pass. */
const settle = (ms = 1) => vi.advanceTimersByTimeAsync(ms);
const stored = () => Object.keys(localStorage).filter((key) => key.includes('_q_'));

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

describe('hello', () => {
  test('comes first and alone, with the anonymous id that is kept', async () => {
    const client = start({ context: { path: '/' } });
    void client.track('Seen');
    server.hold.add('hello');
    await settle();
    expect(server.received).toHaveLength(1);
    expect(server.received[0]).toMatchObject({
      t: 'hello',
      v: 1,
      token: 'ls_wk_test',
      anonymousId: client.user().anonymousId(),
      context: { path: '/' },
      sdk: { name: 'lodestone-js' },
    });
    expect(server.socket.url).toBe('wss://cdp.test/v1/ws');
    expect(server.socket.protocol).toBe('lodestone.v1.json');
    expect(start().user().anonymousId()).toBe(client.user().anonymousId());
  });

  test('is repeated when no welcome comes', async () => {
    server.hold.add('hello');
    start();
    await settle(10_600);
    expect(server.of('hello').length).toBe(2);
  });

  test('adopts the anonymous id of a Segment library, and keeps two write keys apart', async () => {
    localStorage.setItem('ajs_anonymous_id', '"from-segment"');
    expect(start({}, 'ls_wk_one').user().anonymousId()).toBe('from-segment');
    localStorage.removeItem('ajs_anonymous_id');
    expect(start({}, 'ls_wk_two').user().anonymousId()).not.toBe('from-segment');
    expect(start({}, 'ls_wk_one').user().anonymousId()).toBe('from-segment');
  });

  test('names a new session after 30 minutes without activity', async () => {
    const client = start();
    await settle();
    const { sessionId } = server.of('hello')[0]!;
    await settle(31 * 60_000);
    void client.track('Back');
    server.socket.die(1006);
    await settle(600);
    expect(server.of('hello').at(-1)!.sessionId).not.toBe(sessionId);
  });
});

describe('queue', () => {
  test('one turn leaves as one batch in order, stamped, and is forgotten when acked', async () => {
    const client = start({ context: { path: '/' } });
    await settle();
    const acks: Result[] = [];
    client.on('ack', (result) => acks.push(result));
    const first = client.track('One', { n: 1 });
    void client.track('Two', null, { timestamp: '2026-01-05T10:00:01Z', context: { path: '/x' } });
    expect(stored()).toHaveLength(2);
    await settle();
    expect(server.of('batch')).toHaveLength(1);
    const [batch] = server.of('batch');
    expect(batch!.sentAt).toMatch(/^\d{4}-.*Z$/);
    const id = client.user().anonymousId();
    expect(batch!.messages[0]).toMatchObject({ t: 'track', event: 'One', properties: { n: 1 }, anonymousId: id });
    expect(batch!.messages[0].context).toBeUndefined();
    expect(batch!.messages[1]).toMatchObject({ event: 'Two', timestamp: '2026-01-05T10:00:01.000Z', context: { path: '/x' } });
    expect(await first).toMatchObject({ status: 'stored', event: 'One', messageId: batch!.messages[0].id });
    expect(acks.map((result) => result.event)).toEqual(['One', 'Two']);
    expect(stored()).toEqual([]);
  });

  test('message ids are UUIDv7 and sort by order of making, also when the clock steps back', () => {
    const ids = Array.from({ length: 100 }, () => uuid7());
    vi.setSystemTime(Date.now() - 60_000);
    ids.push(uuid7());
    expect(ids).toEqual([...ids].sort());
    expect(new Set(ids).size).toBe(101);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  test('I-74: a page closed mid-flight sends again after reload, with the same message id', async () => {
    const page = start();
    await settle();
    server.hold.add('batch');
    void page.track('Lost?', { n: 1 });
    await settle();
    const [sent] = server.tracks();
    server.socket.close();
    server.hold.clear();
    start();
    await settle();
    expect(server.tracks().map((message) => message.id)).toEqual([sent!.id, sent!.id]);
    expect(stored()).toEqual([]);
  });

  test('I-74: a lost connection sends again what was not acked, with the same message id', async () => {
    const client = start();
    await settle();
    server.hold.add('batch');
    const done = client.track('Again');
    await settle();
    server.hold.clear();
    server.socket.die(1006);
    await settle(600);
    expect(new Set(server.tracks().map((message) => message.id)).size).toBe(1);
    expect(server.tracks()).toHaveLength(2);
    expect((await done).status).toBe('stored');
  });

  test('I-74: a rejected event is removed once and reported; duplicate and dropped are just removed', async () => {
    const verdicts: Record<string, object> = {
      Bad: { status: 'rejected', code: 'unknown_event', errors: [] },
      Twice: { status: 'duplicate', eventId: 'e1' },
      Locked: { status: 'dropped' },
    };
    server.judge = (message) => verdicts[message.event];
    const client = start();
    const onError = vi.fn();
    client.on('error', onError);
    const results = await Promise.all([client.track('Bad'), client.track('Twice'), client.track('Locked'), settle()]);
    expect(results.slice(0, 3)).toMatchObject([{ status: 'rejected', code: 'unknown_event' }, { status: 'duplicate' }, { status: 'dropped' }]);
    expect(onError).toHaveBeenCalledTimes(1);
    expect(onError.mock.calls[0]![0]).toMatchObject({ code: 'unknown_event', event: 'Bad' });
    expect(stored()).toEqual([]);
    await settle(60_000);
    expect(server.tracks()).toHaveLength(3);
  });

  test('a message that the server could not take now stays and goes again', async () => {
    let busy = true;
    server.judge = () => (busy ? { status: 'rejected', code: 'unavailable' } : undefined);
    const client = start();
    const done = client.track('Patience');
    await settle();
    expect(stored()).toHaveLength(1);
    busy = false;
    await settle(1_100);
    expect((await done).status).toBe('stored');
    expect(server.tracks()).toHaveLength(2);
  });

  test('I-75: two tabs track 50 events each, the server has exactly 100', async () => {
    const tabs = [start(), start()];
    for (let i = 0; i < 50; i++) for (const tab of tabs) void tab.track('Click', { i });
    await settle();
    const reopened = start();
    await settle();
    expect(server.stored.size).toBe(100);
    expect(stored()).toEqual([]);
    expect(await reopened.flush()).toBe(true);
  });

  test('never spends more than its credit and goes on when credit comes', async () => {
    server.credit = 3;
    server.refund = false;
    const client = start();
    await settle();
    for (let i = 0; i < 10; i++) void client.track('Click', { i });
    await settle();
    expect(server.tracks()).toHaveLength(3);
    server.push({ t: 'credit', credit: 5 });
    await settle();
    expect(server.tracks()).toHaveLength(8);
    server.push({ t: 'ack', results: [], credit: 50 });
    await settle();
    expect(server.tracks().map((message) => message.properties.i)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('batches hold at most 100 messages and stay under the frame limit', async () => {
    const client = start();
    await settle();
    for (let i = 0; i < 150; i++) void client.track('Click', { i });
    for (let i = 0; i < 5; i++) void client.track('Big', { text: 'x'.repeat(30_000) });
    await settle();
    const batches = server.of('batch');
    expect(batches[0]!.messages).toHaveLength(100);
    for (const batch of batches) expect(JSON.stringify(batch).length).toBeLessThan(80_000);
    expect(server.stored.size).toBe(155);
  });

  test('refuses at once what the server would refuse for its size', async () => {
    const client = start();
    expect(await client.track('Huge', { text: 'x'.repeat(33_000) })).toMatchObject({ status: 'rejected', code: 'payload_too_large' });
    expect(stored()).toEqual([]);
  });

  test('keeps at most 1000: the oldest tracked events go, identify stays', async () => {
    server.online = false;
    const client = start();
    const onDrop = vi.fn();
    client.on('drop', onDrop);
    const oldest = client.track('Oldest');
    void client.identify('ada');
    for (let i = 0; i < 1000; i++) void client.track('Click', { i });
    expect(await oldest).toMatchObject({ status: 'dropped', code: 'queue_full' });
    expect(onDrop).toHaveBeenLastCalledWith(2);
    expect(stored()).toHaveLength(1000);
    server.online = true;
    await settle(1_000);
    expect(server.of('identify')).toHaveLength(1);
    expect(server.stored.size).toBe(1000);
  });

  test('works from memory where storage is refused', async () => {
    vi.stubGlobal('localStorage', undefined);
    const client = start();
    server.socket.die(1006);
    const done = client.track('Anyway');
    await settle(600);
    expect((await done).status).toBe('stored');
  });

  test('a frame refused without an id (no credit, rate limit) has everything under way sent again', async () => {
    const client = start();
    await settle();
    server.hold.add('batch');
    const done = client.track('Once');
    await settle();
    server.hold.clear();
    server.push({ t: 'error', id: null, code: 'flow_exceeded', message: '', retryable: true, retryAfterMs: 200, fatal: false });
    await settle(100);
    expect(server.tracks()).toHaveLength(1);
    await settle(200);
    expect((await done).status).toBe('stored');
  });

  test('flush resolves when all is sent', async () => {
    server.online = false;
    const client = start();
    void client.track('Late');
    await settle();
    server.online = true;
    const flushed = client.flush();
    await settle();
    expect(await flushed).toBe(true);
    expect(server.stored.size).toBe(1);
  });
});

describe('identity', () => {
  test('identify is a barrier: nothing is under way beside it', async () => {
    const client = start();
    await settle();
    server.hold.add('batch').add('identify');
    void client.track('Before');
    void client.identify('ada', { name: 'Ada' });
    void client.track('After');
    await settle();
    expect(server.of('identify')).toHaveLength(0);
    const [before] = server.tracks();
    server.hold.delete('batch');
    server.push({ t: 'ack', results: [{ id: before!.id, status: 'stored' }], credit: 1 });
    await settle();
    expect(server.tracks()).toHaveLength(1);
    const [identify] = server.of('identify');
    expect(identify).toMatchObject({ userId: 'ada', type: 'user_id', isAnonymous: false, previousUserId: client.user().anonymousId() });
    expect(identify).toMatchObject({ traits: { name: 'Ada' }, traitsMode: 'merge' });
    server.push({ t: 'identified', id: identify!.id, status: 'stored', userId: 'ada', isAnonymous: false, merged: [], skipped: [], seq: 1 });
    await settle();
    expect(server.tracks()[1]).toMatchObject({ event: 'After', userId: 'ada' });
    expect(server.tracks()[1]!.anonymousId).toBeUndefined();
    expect(client.user().id()).toBe('ada');
    expect(server.sockets).toHaveLength(1);
  });

  test('I-75: identify while offline, then online: it merges first, and what was tracked after arrives after', async () => {
    server.online = false;
    const client = start();
    const anonymousId = client.user().anonymousId();
    void client.track('Before');
    void client.identify('ada');
    void client.track('After');
    await settle();
    server.online = true;
    await settle(30_000);
    const types = server.received.filter((frame) => /hello|batch|identify/.test(frame.t)).map((frame) => frame.t);
    expect(types).toEqual(['hello', 'batch', 'identify', 'batch']);
    expect(server.of('hello')[0]).toMatchObject({ anonymousId });
    expect(server.of('hello')[0]!.userId).toBeUndefined();
    expect(server.of('identify')[0]).toMatchObject({ previousUserId: anonymousId });
  });

  test('I-30: identify of someone else resets first, so the two never merge', async () => {
    const client = start();
    void client.identify('ada', { name: 'Ada' });
    void client.identify('bob');
    await settle();
    const frames = server.received.filter((frame) => frame.t === 'identify' || frame.t === 'reset');
    expect(frames.map((frame) => frame.t)).toEqual(['identify', 'reset', 'identify']);
    expect(frames[2]).toMatchObject({ userId: 'bob', previousUserId: frames[1]!.anonymousId });
    expect(client.user().traits()).toEqual({});
  });

  test('B-62: a known person who identifies again sends no previous id', async () => {
    const client = start();
    void client.identify('ada');
    void client.identify('ada', { plan: 'pro' });
    void client.identify({ name: 'Ada' });
    await settle();
    const [, second, third] = server.of('identify');
    expect(second!.previousUserId).toBeUndefined();
    expect(third).toMatchObject({ userId: 'ada', traits: { name: 'Ada' } });
    expect(client.user().traits()).toEqual({ plan: 'pro', name: 'Ada' });
  });

  test('identify without id logs a known person out, and keeps an anonymous one anonymous', async () => {
    const client = start();
    void client.identify({ name: 'Someone' });
    await settle();
    expect(server.of('identify')[0]).toMatchObject({ userId: client.user().anonymousId(), isAnonymous: true, type: 'anonymous_id' });
    void client.identify('ada');
    const before = client.user().anonymousId();
    void client.identify(null);
    await settle();
    expect(client.user().id()).toBeNull();
    expect(client.user().anonymousId()).not.toBe(before);
    expect(server.of('reset')[0]).toMatchObject({ anonymousId: client.user().anonymousId() });
  });

  test('after a logout while offline, the old person`s events go as theirs and no action of theirs is asked for', async () => {
    const client = start();
    void client.identify('ada');
    await settle();
    server.online = false;
    server.socket.die(1006);
    void client.track('Hers');
    void client.reset();
    void client.track('Nobody`s');
    client.onAction(() => {});
    server.received = [];
    server.online = true;
    await settle(30_000);
    expect(server.received.filter((frame) => frame.t !== 'ping').map((frame) => frame.t)).toEqual(['hello', 'batch', 'reset', 'subscribe', 'batch', 'seen']);
    expect(server.of('hello')[0]).toMatchObject({ userId: 'ada' });
    expect(server.tracks()[0]).toMatchObject({ event: 'Hers', userId: 'ada' });
    expect(server.tracks()[1]).toMatchObject({ event: 'Nobody`s', anonymousId: client.user().anonymousId() });
  });

  test('a refused identify is reported; later events go as the new person over a new hello', async () => {
    server.judge = (message) => (message.t === 'identify' ? { code: 'traits_invalid', message: 'no' } : undefined);
    const client = start();
    await settle();
    const onError = vi.fn();
    client.on('error', onError);
    const done = client.identify('ada', { age: 'x' });
    void client.track('After');
    await settle();
    expect(await done).toMatchObject({ status: 'rejected', code: 'traits_invalid' });
    expect(onError).toHaveBeenCalledTimes(1);
    expect(server.of('hello').at(-1)).toMatchObject({ userId: 'ada' });
    expect(server.of('hello').at(-1)!.resume).toBeUndefined();
    expect(server.tracks()[0]).toMatchObject({ event: 'After', userId: 'ada' });
  });

  test('another tab that logs in takes this one along', async () => {
    const here = start();
    await settle();
    const there = start();
    void there.identify('ada');
    await settle();
    const key = Object.keys(localStorage).find((name) => name.endsWith('_state'))!;
    dispatchEvent(new StorageEvent('storage', { key, newValue: localStorage.getItem(key)! }));
    await settle();
    expect(here.user().id()).toBe('ada');
    expect(server.of('hello').at(-1)).toMatchObject({ userId: 'ada' });
  });

  test('setAnonymousId continues under that id', async () => {
    const client = start();
    await settle();
    client.setAnonymousId('device-7');
    void client.track('Seen');
    await settle();
    expect(server.of('reset')[0]).toMatchObject({ anonymousId: 'device-7' });
    expect(server.tracks()[0]).toMatchObject({ anonymousId: 'device-7' });
    expect(start().user().anonymousId()).toBe('device-7');
  });
});

describe('connection', () => {
  test('comes back with full jitter between 0 and 500 ms, doubling to 20 s', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1);
    server.online = false;
    const waits: number[] = [];
    const client = start();
    client.on('connection', (state, retryMs) => state === 'waiting' && waits.push(retryMs!));
    await settle(120_000);
    expect(waits.slice(0, 8)).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
  });

  test('a steady connection starts over with the shortest wait; a flapping one does not', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1);
    const waits: number[] = [];
    const client = start();
    client.on('connection', (state, retryMs) => state === 'waiting' && waits.push(retryMs!));
    for (let i = 0; i < 3; i++) {
      await settle(2_100);
      server.socket.die(1006);
    }
    await settle(12_000);
    server.socket.die(1006);
    expect(waits).toEqual([500, 1000, 2000, 500]);
  });

  test('4401 and 4403 are final', async () => {
    for (const code of [4401, 4403]) {
      const client = start();
      await settle();
      const states: string[] = [];
      client.on('connection', (state) => states.push(state));
      const before = server.sockets.length;
      const flushed = (void client.track('Never'), client.flush());
      server.socket.die(code);
      await settle(60_000);
      expect(states).toEqual(['closed']);
      expect(server.sockets).toHaveLength(before);
      expect(await flushed).toBe(false);
      expect(await client.flush()).toBe(false);
    }
  });

  test('a draining server is given up to 5 s', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1);
    const client = start();
    await settle();
    const onConnection = vi.fn();
    client.on('connection', onConnection);
    server.socket.die(1001);
    expect(onConnection).toHaveBeenCalledWith('waiting', 5_000);
  });

  test('the network`s return connects at once', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1);
    server.online = false;
    const anonymousId = start().user().anonymousId();
    await settle();
    server.online = true;
    dispatchEvent(new Event('online'));
    await settle();
    expect(server.of('hello').filter((hello) => hello.anonymousId === anonymousId)).toHaveLength(1);
  });

  test('pings, and leaves a server that has fallen silent', async () => {
    start();
    await settle(26_000);
    expect(server.of('ping')).toHaveLength(1);
    await settle(25_000);
    expect(server.of('ping')).toHaveLength(2);
    server.hold.add('ping');
    await settle(51_000);
    expect(server.sockets.length).toBeGreaterThan(1);
  });

  test('resumes with the last sequence number, and subscribes anew only if the session is gone', async () => {
    const client = start();
    client.onAction(() => {});
    await settle();
    server.push({ t: 'action', seq: 44, subs: ['s1'], cause: 'event', action: coupon() });
    await settle();
    expect(server.of('seen').at(-1)).toEqual({ t: 'seen', seq: 44 });
    server.resumed = true;
    server.socket.die(1006);
    await settle(600);
    expect(server.of('hello').at(-1)!.resume).toEqual({ token: 'rt_1', lastSeq: 44 });
    expect(server.of('subscribe')).toHaveLength(1);
    server.resumed = false;
    server.socket.die(1006);
    await settle(1_100);
    expect(server.of('subscribe')).toHaveLength(2);
  });

  test('context: given by hello, replaced by a frame, asked for at each call when it is a function', async () => {
    let path = '/';
    const client = start({ context: () => ({ path }) });
    await settle();
    expect(server.of('hello')[0]!.context).toEqual({ path: '/' });
    path = '/cart';
    void client.track('Moved');
    await settle();
    expect(server.received.slice(1).map((frame) => frame.t)).toEqual(['context', 'batch']);
    expect(server.of('context')[0]!.context).toEqual({ path: '/cart' });
    expect(client.context({ path: '/done' })).toEqual({ path: '/done' });
    await settle();
    expect(server.of('context')[1]!.context).toEqual({ path: '/done' });
  });
});

const coupon = (over: object = {}) => ({
  deliveryId: 'im_1',
  id: 'a1',
  type: 'banner',
  version: 1,
  tags: ['shop'],
  properties: { title: 'Hi' },
  ...over,
});

describe('actions', () => {
  test('come by snapshot and by push, once each, and again when their properties change', async () => {
    server.due = [coupon()];
    const client = start();
    const seen: unknown[] = [];
    client.onAction((action) => seen.push([action.id, action.properties.title]), { type: 'banner', tags: ['shop'] });
    await settle();
    expect(server.of('subscribe')[0]).toMatchObject({ sub: 's1', type: 'banner', tags: ['shop'] });
    server.push({ t: 'action', seq: 2, subs: ['s1'], cause: 'trait', action: coupon({ properties: { title: 'Hi, Ada' } }) });
    server.push({ t: 'action', seq: 3, subs: ['s1'], cause: 'event', action: coupon({ id: 'a2', deliveryId: 'im_2' }) });
    await settle();
    expect(seen).toEqual([['a1', 'Hi'], ['a1', 'Hi, Ada'], ['a2', 'Hi']]);
  });

  test('a new session`s snapshot keeps what is still due under its new delivery, and ends what is not', async () => {
    server.due = [coupon(), coupon({ id: 'a2', deliveryId: 'im_2' })];
    const client = start();
    const onAction = vi.fn();
    const onRevoke = vi.fn();
    client.onAction(onAction);
    client.onRevoke(onRevoke);
    await settle();
    server.due = [coupon({ deliveryId: 'im_9' })];
    server.socket.die(1006);
    await settle(600);
    expect(onAction).toHaveBeenCalledTimes(2);
    const action = onAction.mock.calls[0]![0];
    expect(action.deliveryId).toBe('im_9');
    expect(onRevoke.mock.calls.map(([gone, reason]) => [gone.id, reason])).toEqual([['a2', 'resync']]);
    void action.show();
    await settle();
    expect(server.of('act')[0]).toMatchObject({ actionId: 'a1', deliveryId: 'im_9', event: 'show' });
  });

  test('are revoked, but not after an answer', async () => {
    server.due = [coupon(), coupon({ id: 'a2', deliveryId: 'im_2' })];
    const client = start();
    const onAction = vi.fn();
    const onRevoke = vi.fn();
    client.onAction(onAction);
    const undo = client.onRevoke(onRevoke);
    await settle();
    void onAction.mock.calls[0]![0].accept();
    await settle();
    for (const actionId of ['a1', 'a2']) server.push({ t: 'action_revoked', seq: 9, subs: ['s1'], actionId, deliveryId: 'x', reason: 'capped' });
    await settle();
    expect(onRevoke.mock.calls.map(([action, reason]) => [action.id, reason])).toEqual([['a2', 'capped']]);
    undo();
  });

  test('show is sent once per delivery; answers carry values, made or given; failures reject with their code', async () => {
    server.due = [coupon(), coupon({ id: 'a2', deliveryId: 'im_2' }), coupon({ id: 'a3', deliveryId: 'im_3' })];
    server.judgeAct = (act) =>
      act.actionId === 'a3' ? { t: 'error', id: act.id, code: 'capped', message: 'no more', retryable: false, fatal: false, details: [] } : undefined;
    const client = start();
    const actions: any[] = [];
    client.onAction((action) => actions.push(action));
    await settle();
    const [a, b, c] = actions;
    void a.show();
    void a.show();
    const accepted = a.accept(async () => ({ size: 'M' }));
    const declined = b.decline({ why: 'no' });
    const refused = c.accept().catch((error: unknown) => error);
    const broken = b.accept(() => Promise.reject(Error('form closed'))).catch((error: Error) => error.message);
    await settle();
    expect(await accepted).toEqual({});
    await declined;
    expect(await refused).toMatchObject({ code: 'capped', message: 'no more' });
    expect(await broken).toBe('form closed');
    expect(server.of('act').map((act) => [act.event, act.actionId, act.properties])).toEqual([
      ['show', 'a1', undefined],
      ['decline', 'a2', { why: 'no' }],
      ['accept', 'a3', undefined],
      ['accept', 'a1', { size: 'M' }],
    ]);
  });

  test('a reaction made while offline is kept and sent', async () => {
    server.due = [coupon()];
    const client = start();
    const onAction = vi.fn();
    client.onAction(onAction);
    await settle();
    server.online = false;
    server.socket.die(1006);
    const accepted = onAction.mock.calls[0]![0].accept();
    expect(stored()).toHaveLength(1);
    server.online = true;
    await settle(2_000);
    expect(await accepted).toEqual({});
  });

  test('undo unsubscribes', async () => {
    const client = start();
    const undo = client.onAction(() => {});
    await settle();
    undo();
    await settle();
    expect(server.of('unsubscribe')[0]).toMatchObject({ sub: 's1' });
  });
});

describe('callbacks', () => {
  test('ready, on, once, off, and the callback forms of Segment', async () => {
    const client = start();
    const heard: unknown[] = [];
    client.once('track', (event) => heard.push('once ' + event));
    const listener = (event: string) => heard.push('on ' + event);
    client.on('track', listener);
    void client.track('A', { n: 1 }, null, (result) => heard.push(result.status));
    client.off('track', listener);
    void client.track('B', { n: 2 });
    client.ready(() => heard.push('ready'));
    void client.page('Docs', 'Intro', { lang: 'en' });
    await settle();
    expect(heard.sort()).toEqual(['on A', 'once A', 'ready', 'stored']);
    expect(server.tracks().at(-1)).toMatchObject({ event: '$page', properties: { name: 'Intro', category: 'Docs', lang: 'en', path: location.pathname } });
  });

  test('a listener that throws breaks nothing', async () => {
    const report = vi.spyOn(console, 'error').mockImplementation(() => {});
    const client = start();
    client.on('ack', () => {
      throw Error('page bug');
    });
    client.onAction(() => {
      throw Error('page bug');
    });
    server.due = [coupon()];
    const done = client.track('Fine');
    await settle();
    expect((await done).status).toBe('stored');
    expect(report).toHaveBeenCalledTimes(2);
  });

  test('the snippet collects, the script replays: load first, then the rest in order', async () => {
    const page = window as any;
    await import('../src/snippet');
    page.lodestone.track('Early', { n: 1 });
    page.lodestone.identify('ada');
    page.lodestone.load('ls_wk_snippet', { host: 'https://cdp.test' });
    expect(document.querySelector('script')!.src).toBe('https://cdp.test/sdk/lodestone.js');
    await import('../src/global');
    await settle();
    expect(server.tracks()[0]).toMatchObject({ event: 'Early' });
    expect(server.of('identify')[0]).toMatchObject({ userId: 'ada' });
    expect(page.lodestone.user().id()).toBe('ada');
  });
});
