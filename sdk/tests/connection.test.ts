import { coupon, server, settle, start } from './setup';

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
