/**
 * Offers that end while a page is open, in headless Chromium against the real server: a countdown runs out and the
 * engine takes the offer back; the last of a numbered few goes to another tab and disappears here.
 *
 *   LODESTONE_BIN=target/release/lodestone node tests/browser/deals.mjs
 *
 * Settings as in rig.mjs.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { admin, browserTest, shopCatalog, step } from './rig.mjs';

/** From a click to what it brings. */
const pushMs = 5_000;
/** The offer has at least this long to be seen before it ends. Times of a range are whole minutes. */
const leastMs = 12_000;
/** From the end of its time to the revoke on the page. */
const lateMs = 2_000;
/** An offer that must not come is given this long. */
const absentMs = 1_500;

const wrap = 'Gift wrap is on us today';
const print = 'A numbered print';

/** The shop's definitions, but the wrapping ends then, and one print is all there is. */
const definitions = (ends) => {
  const catalog = JSON.parse(readFileSync(shopCatalog, 'utf8'));
  const action = (name) => catalog.actions.find((one) => one.name === name);
  const [date, time] = ends.toISOString().split('T');
  action('Gift wrap today').targeting.end = { date, time: time.slice(0, 5) };
  action('Gift wrap today').properties.find((one) => one.name === 'ends').value = ends.toISOString();
  action('Numbered print').capping.find((one) => one.group === 'all').count = 1;
  return JSON.stringify(catalog);
};

const search = async (page, words) => {
  const field = page.locator('form[data-do="search"] input');
  await field.fill(words);
  await field.press('Enter');
  await page.locator('h1', { hasText: words }).waitFor();
};

const deal = (page, title) => page.locator('.offer.deal').filter({ hasText: title });
const row = (page, what) => page.locator('#rows').getByText(what, { exact: true });

/** Seconds on a countdown. */
const seconds = async (page) => {
  const text = await page.locator('[data-countdown]').textContent();
  return text.split(':').reduce((all, part) => all * 60 + Number(part), 0);
};

await browserTest('deals', async ({ base, visitor, shot }) => {
  const one = await visitor();
  const ends = new Date(Math.ceil((Date.now() + leastMs) / 60_000) * 60_000);
  const applied = await fetch(base + '/api/v1/catalog', { method: 'POST', headers: admin, body: definitions(ends) });
  assert.equal(applied.status, 200, await applied.text());

  step('a search brings the offer of the hour, with a countdown that goes on');
  await search(one, 'lamp');
  await deal(one, wrap).waitFor({ timeout: pushMs });
  const [before, told] = [await seconds(one), (ends - Date.now()) / 1000];
  assert.ok(Math.abs(before - told) < 2.5, `${before} s are told of ${told}`);
  await one.waitForFunction((text) => document.querySelector('[data-countdown]').textContent !== text, await one.locator('[data-countdown]').textContent());
  const after = await seconds(one);
  assert.ok(before - after >= 1 && before - after <= 3, `from ${before} to ${after}`);
  await shot(one, 'deal-countdown');

  step('its time is over with the page open and nobody doing anything: the engine takes it back');
  await sleep(Math.max(0, ends - Date.now() - 1_500));
  assert.equal(await deal(one, wrap).count(), 1, 'it stands until its time is over');
  await row(one, 'expired').waitFor({ timeout: 1_500 + lateMs });
  const late = Date.now() - ends;
  assert.ok(late >= 0, 'never before');
  assert.ok(late < lateMs, `taken back ${late} ms after its end`);
  await deal(one, wrap).waitFor({ state: 'detached', timeout: pushMs });
  await shot(one, 'deal-over');

  step('the last of a few stands on two pages');
  const other = await visitor();
  await search(one, 'mug');
  await search(other, 'mug');
  await search(other, 'throw');
  for (const page of [one, other]) await deal(page, print).waitFor({ timeout: pushMs });
  await sleep(700);
  await shot(one, 'deal-last');

  step('one of them takes it, and it is gone from the other');
  const began = Date.now();
  await deal(other, print).locator('[data-offer="accept"]').click();
  await row(one, 'capped').waitFor({ timeout: pushMs });
  const gone = Date.now() - began;
  await deal(one, print).waitFor({ state: 'detached', timeout: pushMs });
  await other.locator('[data-code]').getByText('PRINT').waitFor({ timeout: pushMs });
  await shot(other, 'deal-taken');
  await shot(one, 'deal-gone');

  step('whoever comes later is not offered it');
  const third = await visitor();
  await search(third, 'mug');
  await search(third, 'throw');
  await third.locator('[data-trait="searches"]').getByText('2', { exact: true }).waitFor();
  await sleep(absentMs);
  assert.equal(await third.locator('.offer').count(), 0);

  return `taken back ${late} ms after its end, ${gone} ms after the other's click`;
});
