/**
 * The demo shop in headless Chromium against the real server: three product views bring the coupon, accepting it is
 * recorded and capped, declining too; a server that restarts under the page loses nothing; the pages keep to their
 * content security policy.
 *
 *   LODESTONE_BIN=target/release/lodestone node tests/browser/shop.mjs
 *
 * Settings as in rig.mjs.
 */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { admin, browserTest, live, step } from './rig.mjs';

/** From the third view to the banner: "within a moment", with room for a busy machine. */
const bannerMs = 5_000;
/** A banner that must not come is given this long. */
const absentMs = 1_500;
const reacted = (profile, kind) => profile.reactions.some((reaction) => reaction.event === kind && reaction.action === 'Welcome coupon');
const isIn = (profile, key) => profile.audiences.some((audience) => audience.key === key);

await browserTest('shop', async ({ base, visitor, shot, without }) => {
  step('the shop opens and connects');
  const page = await visitor();
  const banner = page.locator('.offer.banner');
  const trait = (key) => page.locator(`[data-trait="${key}"]`);
  const userId = () => page.locator('#who').getAttribute('title');

  const see = async (product) => {
    await page.locator('.brand').click();
    await page.locator(`a[data-product="${product}"]`).click();
    await page.locator('.product h1').waitFor();
  };

  /** The profile as the admin API tells it, once `holds` is true of it. */
  const profileWhen = async (holds, what) => {
    const url = `${base}/api/v1/profiles?userId=${encodeURIComponent(await userId())}`;
    let found;
    for (const end = Date.now() + 5_000; Date.now() < end; await sleep(50)) {
      const response = await fetch(url, { headers: admin });
      assert.equal(response.status, 200);
      [found] = (await response.json()).data;
      if (found && holds(found)) return found;
    }
    throw assert.fail(`${what}; the profile is ${JSON.stringify(found, null, 1)}`);
  };

  await shot(page, 'shop');

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
  await shot(page, 'shop-coupon');

  step('accepting it shows the code and is recorded');
  await banner.locator('[data-offer="accept"]').click();
  await banner.locator('[data-code]').getByText('HELLO10').waitFor();
  const accepted = await profileWhen((profile) => reacted(profile, 'accepted'), 'accepted is recorded');
  assert.equal(accepted.computedTraits.productsViewed, 3);
  assert.equal(accepted.computedTraits.lastProduct, 'Ridge daypack');
  assert.ok(reacted(accepted, 'shown'), 'shown is recorded');
  assert.ok(isIn(accepted, 'window-shoppers'), 'three views and no purchase make a window shopper');
  await shot(page, 'shop-accepted');

  step('it does not come back: not after a reload, not after another view');
  await page.reload();
  await live(page);
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
  await shot(page, 'shop-bought');

  step('a server that restarts under the page loses nothing and gets nothing twice');
  const viewed = bought.computedTraits.productsViewed;
  await without(async () => {
    await page.locator('#link:not(.open)').waitFor();
    await see('quill-notebook');
    await page.locator('#rows .wait').first().waitFor();
  });
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
  await page.goto(base + '/');
  await page.locator('#state.open').waitFor();
  await sleep(2_500);
  assert.match(await page.locator('#rate-note').textContent(), /^[\d,]+ so far/);
  await shot(page, 'status');

  return `click to push ${pushMs.toFixed(1)} ms`;
});
