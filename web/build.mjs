/**
 * Builds everything that the server embeds: the browser SDK (also into ../sdk/dist, as published), the demo shop and
 * the status page, all into dist/. Stable names, no source maps; pages name their files with `?v=<hash>`.
 */

import { build } from 'esbuild';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const web = dirname(fileURLToPath(import.meta.url));
const sdk = join(web, '../sdk');
const dist = join(web, 'dist');
const sdkDist = join(sdk, 'dist');

/** Bytes after gzip -9. The core's budget is a promise of the SDK; the pages' keeps them small. */
const budgets = {
  'sdk/lodestone.js': 4000,
  'sdk/lodestone.mjs': 4000,
  'sdk/snippet.js': 500,
  'assets/shop.js': 16_000,
  'assets/status.js': 6_000,
};

const { version } = JSON.parse(readFileSync(join(sdk, 'package.json'), 'utf8'));
const common = {
  bundle: true,
  minify: true,
  legalComments: 'none',
  target: 'es2021',
  logLevel: 'warning',
  define: { SDK_VERSION: JSON.stringify(version) },
};

for (const dir of [dist, sdkDist]) {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
}

const script = (entry, outfile, format) => build({ ...common, entryPoints: [entry], outfile, format });
await Promise.all([
  script(join(sdk, 'src/global.ts'), join(sdkDist, 'lodestone.js'), 'iife'),
  script(join(sdk, 'src/index.ts'), join(sdkDist, 'lodestone.mjs'), 'esm'),
  script(join(sdk, 'src/snippet.ts'), join(sdkDist, 'snippet.js'), 'iife'),
]);
execFileSync(
  process.execPath,
  [join(web, 'node_modules/typescript/bin/tsc'), '-p', join(web, 'tsconfig.sdk.json'), '--outDir', sdkDist],
  { stdio: 'inherit' },
);
cpSync(sdkDist, join(dist, 'sdk'), { recursive: true });

const hash = (file) => createHash('sha256').update(readFileSync(join(dist, file))).digest('hex').slice(0, 8);

for (const page of ['shop', 'status']) {
  await build({
    ...common,
    entryPoints: [join(web, page, `${page}.ts`), join(web, page, `${page}.css`)],
    outdir: join(dist, 'assets'),
    format: 'esm',
    // The shop loads the SDK as any site would, from the server.
    external: ['/sdk/*'],
  });
}
const shop = join(dist, 'assets/shop.js');
writeFileSync(shop, readFileSync(shop, 'utf8').replaceAll('/sdk/lodestone.mjs', `/sdk/lodestone.mjs?v=${hash('sdk/lodestone.mjs')}`));
cpSync(join(web, 'shared/logo.svg'), join(dist, 'assets/logo.svg'));

const pages = { 'shop/index.html': 'shop/index.html', 'status/index.html': 'index.html' };
for (const [from, to] of Object.entries(pages)) {
  const html = readFileSync(join(web, from), 'utf8').replace(/"\/(assets|sdk)\/([\w.-]+)"/g, (_, dir, name) => `"/${dir}/${name}?v=${hash(`${dir}/${name}`)}"`);
  mkdirSync(dirname(join(dist, to)), { recursive: true });
  writeFileSync(join(dist, to), html);
}

let over = false;
const files = readdirSync(dist, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && !entry.name.endsWith('.d.ts'));
for (const entry of files) {
  const path = join(entry.parentPath, entry.name);
  const name = path.slice(dist.length + 1);
  const bytes = readFileSync(path);
  const zipped = gzipSync(bytes, { level: 9 }).length;
  const budget = budgets[name];
  const bad = budget !== undefined && zipped > budget;
  over ||= bad;
  console.log(`${name.padEnd(22)} ${String(bytes.length).padStart(7)} B ${String(zipped).padStart(6)} B gzip${budget ? ` of ${budget}` : ''}${bad ? '  OVER BUDGET' : ''}`);
}
if (over) process.exit(1);
