import { coupon, server, settle, start } from './setup';

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
