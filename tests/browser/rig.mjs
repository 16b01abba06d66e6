/**
 * What every browser test needs: a real server on a folder of its own, headless Chromium, visitors, pictures, and the
 * end of all of it.
 *
 * LODESTONE_BIN is the server (default: the release binary of <target dir>), LODESTONE_SCREENSHOTS where pictures go
 * (default: <target dir>/screenshots), CHROMIUM another browser's path. Needs `npm ci` in web/ (for playwright-core), and
 * a binary that was built after `npm run build` there.
 */

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, startServer } from './server.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const { chromium } = createRequire(join(root, 'web/package.json'))('playwright-core');

const target = process.env.CARGO_TARGET_DIR || join(root, 'target');
const binary = process.env.LODESTONE_BIN || join(target, 'release/lodestone');
const screenshots = process.env.LODESTONE_SCREENSHOTS || join(target, 'screenshots');
const browserPath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => path && existsSync(path));
const browserArgs = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** The SDK's longest wait between two tries is 20 s. */
const connectMs = 40_000;

export const shopCatalog = join(root, 'web/shop/catalog.json');

/** The token that reads and defines, of the shop's catalog. */
export const admin = { authorization: 'Bearer ls_ad_demo' };

export const step = (text) => console.log(`  ${text}`);

/** Waits until a page has its connection. */
export const live = (page) => page.locator('#link.open').waitFor({ timeout: connectMs });

/**
 * Runs one test on a server with the shop's catalog; `body` gets the rig and gives what it measured, in words. The test
 * fails when a page reports an error: a visitor unknown as yet, and the server's absence while it restarts, are none.
 */
export const browserTest = async (name, body) => {
  if (!existsSync(binary)) throw Error(`no server at ${binary}; set LODESTONE_BIN`);
  if (!browserPath) throw Error('no Chromium found; set CHROMIUM');
  mkdirSync(screenshots, { recursive: true });
  const dataDir = mkdtempSync(join(tmpdir(), `lodestone-${name}-`));
  const port = await freePort();
  const launch = () => startServer({ binary, dataDir, port, catalog: shopCatalog });
  let server = await launch();
  const browser = await chromium.launch({ executablePath: browserPath, args: browserArgs });
  const pages = [];
  const complaints = [];
  let serverIsAway = false;

  const rig = {
    base: server.base,
    /** A page of somebody new: their storage, their socket. */
    async visitor() {
      const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
      page.on('console', (message) => {
        const expected = /\/shop\/api\/profile/.test(message.location().url) || (serverIsAway && /ERR_CONNECTION|WebSocket/.test(message.text()));
        if (message.type() === 'error' && !expected) complaints.push(message.text());
      });
      page.on('pageerror', (error) => complaints.push(String(error)));
      pages.push(page);
      await page.goto(rig.base + '/shop');
      await live(page);
      return page;
    },
    shot: (page, picture) => page.screenshot({ path: join(screenshots, `${picture}.png`) }),
    /** The server is gone while `meanwhile` runs, and back, on the same folder, when everybody has connected again. */
    async without(meanwhile) {
      serverIsAway = true;
      await server.stop();
      await meanwhile();
      server = await launch();
      for (const page of pages) await live(page);
      serverIsAway = false;
    },
  };

  try {
    const measured = await body(rig);
    assert.deepEqual(complaints, [], 'the pages report no errors');
    console.log(`${name}: passed; ${measured}, pictures in ${screenshots}`);
  } catch (error) {
    for (const [number, page] of pages.entries()) await rig.shot(page, `${name}-failure-${number}`).catch(() => {});
    console.error(`${name}: failed, pictures in ${screenshots}\n${server.log()}`);
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
};
