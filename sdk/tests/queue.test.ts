import { uuid7 } from '../src/ids';
import type { Result } from '../src/types';
import { server, settle, start, stored } from './setup';

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
