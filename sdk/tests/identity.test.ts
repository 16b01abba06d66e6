import { server, settle, start } from './setup';

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
