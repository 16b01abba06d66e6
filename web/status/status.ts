/** The status page: asks `/status.json` once a second and shows what it says. */

import { byId, html, put, type Html } from '../shared/html';
import { startTheme } from '../shared/theme';
import { curve, duration, latency, number, rate, type Status } from './model';

const everyMs = 1_000;
const timeoutMs = 4_000;
/** Two minutes. */
const slots = 120;

const history: number[] = [];
let before: { total: number; at: number } | undefined;
let failures = 0;
let known = false;

const tile = (name: string, figure: string, note: string | Html = ''): Html =>
  html`<section class="tile"><h2>${name}</h2><p class="figure">${figure}</p><p class="note">${note}</p></section>`;

const tiles = (status: Status): Html => {
  const { journal, checkpoint, ackMs, pushes } = status;
  const behind = journal?.seq != null && journal.durable != null ? journal.seq - journal.durable : undefined;
  const uncovered = journal?.durable != null && checkpoint?.seq != null ? Math.max(0, journal.durable - checkpoint.seq) : undefined;
  return html`
    ${tile('Ack, p50', latency(ackMs?.p50), 'received to durable')}
    ${tile('Ack, p99', latency(ackMs?.p99), 'one in a hundred is slower')}
    ${tile('Pushes', number(pushes?.total), pushes?.perSecond != null ? `${number(pushes.perSecond)} per second` : 'actions sent out')}
    ${tile('Reactions', number(status.reactions?.total), 'shown, accepted, declined')}
    ${tile('Profiles', number(status.profiles), 'people, known or not')}
    ${tile('Sessions', number(status.sessions), 'sockets open now')}
    ${tile('Journal', number(journal?.seq), behind === undefined ? 'last entry' : behind === 0 ? 'all of it durable' : `${number(behind)} not yet durable`)}
    ${tile('Checkpoint', checkpoint?.ageMs == null ? '–' : duration(checkpoint.ageMs), uncovered === undefined ? 'since the last one' : `${checkpoint?.ageMs == null ? 'none yet' : 'old'}; ${number(uncovered)} entries to replay`)}`;
};

const links = (shop: boolean): Html => html`
  ${
    shop
      ? html`<a class="link main" href="/shop"><h2>Demo shop</h2><p>View three products and watch a coupon arrive.</p></a>`
      : html`<div class="link off"><h2>Demo shop</h2><p>Start the server with <code>demo</code>, or <code>serve --shop</code>.</p></div>`
  }
  <a class="link" href="/metrics"><h2>Metrics</h2><p>Everything on this page and more, for Prometheus.</p></a>
  <div class="link"><h2>API</h2><p><code>curl -H 'Authorization: Bearer …' ${location.origin}/api/v1/status</code></p></div>
  <div class="link"><h2>Docs</h2><p>The socket protocol is in <code>docs/protocol.md</code>, the design in <code>ARCHITECTURE.md</code>, the SDK at <a href="/sdk/lodestone.js">/sdk/lodestone.js</a>.</p></div>`;

const say = (className: string, text: string): void => {
  document.body.className = className;
  const pill = byId('state');
  pill.className = 'pill ' + className;
  if (pill.textContent !== text) pill.textContent = text;
};

const show = (status: Status): void => {
  const at = performance.now();
  const now = rate(status, before, at);
  const { total, rejected } = status.events || {};
  before = total == null ? undefined : { total, at };
  if (now !== undefined) history.push(now);
  history.splice(0, history.length - slots);

  byId('version').textContent = `version ${status.version || '–'} · plan ${status.plan?.version ?? '–'} · up ${duration(status.uptimeMs)}`;
  byId('rate').textContent = number(now);
  byId('rate-note').textContent = `${number(total)} so far${rejected ? `, ${number(rejected)} rejected` : ''}`;
  const { line, area, top } = curve(history, slots, 600, 140);
  document.querySelector('#spark .stroke')!.setAttribute('d', line);
  document.querySelector('#spark .area')!.setAttribute('d', area);
  byId('axis-top').textContent = `top of the scale: ${number(top)}`;
  put(byId('tiles'), tiles(status));
  if (!known) put(byId('links'), links(!!status.shop));
  known = true;
  byId('trouble').hidden = true;
  say(status.ready === false ? 'starting' : 'open', status.ready === false ? 'starting' : 'ready');
};

const fail = (): void => {
  failures++;
  say(known ? 'waiting' : 'closed', known ? 'reconnecting' : 'unreachable');
  const trouble = byId('trouble');
  trouble.hidden = failures < 3;
  trouble.textContent = known
    ? 'The server does not answer. The numbers are the last ones it gave; they continue by themselves when it is back.'
    : 'The server does not answer on /status.json. This page keeps trying.';
};

const ask = async (): Promise<void> => {
  const started = performance.now();
  if (!document.hidden) {
    try {
      const response = await fetch('/status.json', { signal: AbortSignal.timeout(timeoutMs), cache: 'no-store' });
      if (!response.ok) throw Error(String(response.status));
      show((await response.json()) as Status);
      failures = 0;
    } catch {
      fail();
    }
  }
  setTimeout(() => void ask(), Math.max(0, everyMs - (performance.now() - started)));
};

startTheme(byId('theme'));
put(byId('tiles'), tiles({}));
void ask();
