import { server, settle, start } from './setup';

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
