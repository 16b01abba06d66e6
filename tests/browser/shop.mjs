/**
 * The demo shop in headless Chromium against the real server: three product views bring the coupon, accepting it is
 * recorded and capped, declining too; a server that restarts under the page loses nothing; the pages keep to their
 * content security policy.
 *
 *   LODESTONE_BIN=target/release/lodestone node tests/browser/shop.mjs
 *
 * LODESTONE_SCREENSHOTS is where pictures go (default: <target dir>/screenshots), CHROMIUM another browser's path.
 * Needs `npm ci` in web/ (for playwright-core), and a binary that was built after `npm run build` there.
 */

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort, startServer } from './server.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const { chromium } = createRequire(join(root, 'web/package.json'))('playwright-core');

const target = process.env.CARGO_TARGET_DIR || join(root, 'target');
const binary = process.env.LODESTONE_BIN || join(target, 'release/lodestone');
const screenshots = process.env.LODESTONE_SCREENSHOTS || join(target, 'screenshots');
const browserPath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => path && existsSync(path));
const browserArgs = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** From the third view to the banner: "within a moment", with room for a busy machine. */
const bannerMs = 5_000;
/** A banner that must not come is given this long. */
const absentMs = 1_500;
/** The SDK's longest wait between two tries is 20 s. */
const reconnectMs = 40_000;

if (!existsSync(binary)) throw Error(`no server at ${binary}; set LODESTONE_BIN`);
if (!browserPath) throw Error('no Chromium found; set CHROMIUM');
mkdirSync(screenshots, { recursive: true });

const dataDir = mkdtempSync(join(tmpdir(), 'lodestone-shop-'));
const port = await freePort();
const launch = () => startServer({ binary, dataDir, port, catalog: join(root, 'web/shop/catalog.json') });
let server = await launch();
const browser = await chromium.launch({ executablePath: browserPath, args: browserArgs });
const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();

/** What the pages complained about; a visitor unknown as yet, and the server's absence while it restarts, are no fault. */
const complaints = [];
let serverIsAway = false;
page.on('console', (message) => {
  const expected = /\/shop\/api\/profile/.test(message.location().url) || (serverIsAway && /ERR_CONNECTION|WebSocket/.test(message.text()));
  if (message.type() === 'error' && !expected) complaints.push(message.text());
});
page.on('pageerror', (error) => complaints.push(String(error)));

const step = (text) => console.log(`  ${text}`);
const shot = (name) => page.screenshot({ path: join(screenshots, `${name}.png`) });
const banner = page.locator('.offer.banner');
const trait = (key) => page.locator(`[data-trait="${key}"]`);
const userId = () => page.locator('#who').getAttribute('title');

const live = () => page.locator('#link.open').waitFor({ timeout: reconnectMs });

const see = async (product) => {
  await page.locator('.brand').click();
  await page.locator(`a[data-product="${product}"]`).click();
  await page.locator('.product h1').waitFor();
};

/** The profile as the admin API tells it, once `holds` is true of it. */
const profileWhen = async (holds, what) => {
  const url = `${server.base}/api/v1/profiles?userId=${encodeURIComponent(await userId())}`;
  let found;
  for (const end = Date.now() + 5_000; Date.now() < end; await sleep(50)) {
    const response = await fetch(url, { headers: { authorization: 'Bearer ls_ad_demo' } });
    assert.equal(response.status, 200);
    [found] = (await response.json()).data;
    if (found && holds(found)) return found;
  }
  throw assert.fail(`${what}; the profile is ${JSON.stringify(found, null, 1)}`);
};

const reacted = (profile, kind) => profile.reactions.some((reaction) => reaction.event === kind && reaction.action === 'Welcome coupon');
const isIn = (profile, key) => profile.audiences.some((audience) => audience.key === key);

try {
  step('the shop opens and connects');
  await page.goto(server.base + '/shop');
  await live();
  await shot('shop');

  step('two views bring nothing, the third brings the coupon');
  await see('heron-kettle');
  await see('dusk-lamp');
  await trait('productsViewed').getByText('2', { exact: true }).waitFor();
  await sleep(absentMs);
  assert.equal(await banner.count(), 0, 'no banner before the third view');
  await see('ridge-daypack');
  await banner.waitFor({ timeout: bannerMs });
  const pushMs = Number(await page.locator('[data-push-ms]').getAttribute('data-push-ms'));
  assert.ok(pushMs > 0, 'the panel tells how long the push took');
  await trait('productsViewed').getByText('3', { exact: true }).waitFor();
  await page.locator('[data-audience="window-shoppers"]').waitFor();
  assert.equal(await page.locator('.funnel li.done').count(), 1, 'one step of the funnel is done');
  await sleep(800);
  await shot('shop-coupon');

  step('accepting it shows the code and is recorded');
  await banner.locator('[data-offer="accept"]').click();
  await banner.locator('[data-code]').getByText('HELLO10').waitFor();
  const accepted = await profileWhen((profile) => reacted(profile, 'accepted'), 'accepted is recorded');
  assert.equal(accepted.computedTraits.productsViewed, 3);
  assert.equal(accepted.computedTraits.lastProduct, 'Ridge daypack');
  assert.ok(reacted(accepted, 'shown'), 'shown is recorded');
  assert.ok(isIn(accepted, 'window-shoppers'), 'three views and no purchase make a window shopper');
  await shot('shop-accepted');

  step('it does not come back: not after a reload, not after another view');
  await page.reload();
  await live();
  await see('tide-mug');
  await profileWhen((profile) => profile.computedTraits.productsViewed >= 4, 'the view after the reload counts');
  await sleep(absentMs);
  assert.equal(await banner.count(), 0, 'the coupon is capped at one per person');

  step('a purchase goes through the funnel and moves the person between audiences');
  await page.locator('[data-do="add"] button').click();
  await page.locator('.cart').click();
  await page.locator('.summary .primary').click();
  await page.locator('[data-do="order"] .primary').click();
  const bought = await profileWhen((profile) => isIn(profile, 'customers'), 'a buyer is a customer');
  // One mug at 18 less ten percent.
  assert.equal(bought.computedTraits.spent, 16.2);
  assert.ok(isIn(bought, 'checkout-funnel'), 'viewed, added, bought within the hour');
  assert.ok(!isIn(bought, 'window-shoppers'), 'a buyer is no window shopper');
  await page.locator('.funnel li.done').nth(2).waitFor();
  await shot('shop-bought');

  step('a server that restarts under the page loses nothing and gets nothing twice');
  const viewed = bought.computedTraits.productsViewed;
  serverIsAway = true;
  await server.stop();
  await page.locator('#link:not(.open)').waitFor();
  await see('quill-notebook');
  await page.locator('#rows .wait').first().waitFor();
  server = await launch();
  await live();
  serverIsAway = false;
  await page.locator('#rows .wait').waitFor({ state: 'detached' });
  const after = await profileWhen((profile) => profile.computedTraits.productsViewed > viewed, 'the view made offline arrives');
  assert.equal(after.computedTraits.productsViewed, viewed + 1);
  assert.equal(after.computedTraits.spent, 16.2);

  step('a new visitor gets their own coupon, and a no is a no');
  const before = await userId();
  await page.locator('[data-do="new-visitor"]').click();
  assert.notEqual(await userId(), before);
  for (const product of ['ember-lantern', 'fjell-throw', 'loam-planter']) await see(product);
  await banner.waitFor({ timeout: bannerMs });
  await banner.locator('[data-offer="decline"]').click();
  await banner.waitFor({ state: 'detached' });
  const declined = await profileWhen((profile) => reacted(profile, 'declined'), 'declined is recorded');
  assert.equal(declined.computedTraits.productsViewed, 3);
  await see('heron-kettle');
  await profileWhen((profile) => profile.computedTraits.productsViewed === 4, 'the fourth view counts');
  await sleep(absentMs);
  assert.equal(await banner.count(), 0);

  step('signing in joins the visitor to the person');
  await page.locator('[data-do="ask-name"]').click();
  await page.locator('#sign-in input').fill('Ada Marsh');
  await page.locator('#sign-in .primary').click();
  await page.locator('[data-do="sign-out"]').getByText('Ada Marsh').waitFor();
  const known = await profileWhen((profile) => profile.customTraits.name === 'Ada Marsh', 'the name is a trait');
  assert.equal(known.computedTraits.productsViewed, 4);
  assert.deepEqual(known.identities.map((identity) => identity.isAnonymous).sort(), [false, true]);

  step('the status page shows live numbers');
  await page.goto(server.base + '/');
  await page.locator('#state.open').waitFor();
  await sleep(2_500);
  assert.match(await page.locator('#rate-note').textContent(), /^[\d,]+ so far/);
  await shot('status');

  assert.deepEqual(complaints, [], 'the pages report no errors');
  console.log(`shop: passed; click to push ${pushMs.toFixed(1)} ms, pictures in ${screenshots}`);
} catch (error) {
  await shot('failure').catch(() => {});
  console.error(`shop: failed, picture in ${join(screenshots, 'failure.png')}\n${server.log()}`);
  throw error;
} finally {
  await browser.close();
  await server.stop().catch((error) => {
    server.kill();
    console.error(error);
    process.exitCode = 1;
  });
  rmSync(dataDir, { recursive: true, force: true });
}
