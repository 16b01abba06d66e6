import { coupon, server, settle, start, stored } from './setup';

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
