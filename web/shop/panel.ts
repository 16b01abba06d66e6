/** The side panel "What the engine sees". */

import { byId, html, put, type Html } from '../shared/html';
import { icon } from './art';
import type { Profile } from './profile';

type Tone = 'ok' | 'bad' | 'wait' | 'push' | 'react';

interface Row {
  tone: Tone;
  name: string;
  note: string;
}

const rowsMax = 14;
const labels: Record<string, string> = {
  connecting: 'connecting',
  open: 'live',
  waiting: 'reconnecting',
  closed: 'refused',
};

const skeleton = html`
  <header>
    <h2>What the engine sees</h2>
    <span id="link" class="pill" role="status">connecting</span>
  </header>
  <div class="who"><code id="who"></code><button type="button" data-do="new-visitor" title="Forget me and start as somebody new">New visitor</button></div>
  <section class="push" id="push"><h3>Last push</h3><p class="figure">–</p><p class="note">View three products and watch this space.</p></section>
  <section><h3>Checkout funnel</h3><div id="funnel"></div></section>
  <section><h3>Audiences</h3><div id="audiences"></div></section>
  <section><h3>Traits</h3><dl id="traits"></dl></section>
  <section class="stream"><h3>Events <span>sent to durable</span></h3><ol id="rows"></ol></section>`;

const text = (value: unknown): string =>
  Array.isArray(value) ? value.map(text).join(', ') || '–' : value === undefined || value === null || value === '' ? '–' : String(value);

const milliseconds = (ms: number): string => (ms < 10 ? ms.toFixed(1) : String(Math.round(ms)));

const since = (iso: string): string => {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(iso)) / 1000));
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
};

/** `favoriteCategory` reads as "favorite category". */
const words = (key: string): string => key.replace(/([A-Z])/g, (letter) => ' ' + letter.toLowerCase());

export interface Panel {
  connection(state: string): void;
  person(userId: string, known: boolean): void;
  profile(profile: Profile | undefined): void;
  /** Adds a line to the stream; the returned function completes it. */
  event(name: string): (tone: Tone, note: string) => void;
  line(tone: Tone, name: string, note: string): void;
  /** `ms` from the click to the frame; undefined when no click of this page caused it. */
  push(name: string, ms: number | undefined): void;
}

export const openPanel = (): Panel => {
  put(byId('panel'), skeleton);
  const rows: Row[] = [];
  const seen = new Map<string, string>();

  const toggle = byId<HTMLButtonElement>('panel-toggle');
  put(toggle, html`${icon('pulse')}<span>Engine</span>`);
  toggle.addEventListener('click', () => {
    const open = document.body.classList.toggle('panel-open');
    toggle.setAttribute('aria-expanded', String(open));
  });

  const drawRows = () =>
    put(
      byId('rows'),
      html`${rows.map(({ tone, name, note }) => html`<li class="${tone}"><i></i><span>${name}</span><code>${note}</code></li>`)}`,
    );

  const line = (row: Row) => {
    rows.unshift(row);
    rows.length = Math.min(rows.length, rowsMax);
    drawRows();
  };

  /** Marks what differs from what was shown before, so that the eye finds it. */
  const fresh = (key: string, value: string): boolean => {
    const before = seen.get(key);
    seen.set(key, value);
    return before !== undefined && before !== value;
  };

  const trait = ([key, value]: [string, unknown]): Html => {
    const shown = text(value);
    return html`<dt>${words(key)}</dt><dd class="${fresh(key, shown) && 'fresh'}" data-trait="${key}">${shown}</dd>`;
  };

  const funnel = ({ steps, step }: NonNullable<Profile['funnels']>[number]): Html => html`
    <ol class="funnel" aria-label="Step ${step} of ${steps.length}">
      ${steps.map((name, i) => html`<li class="${i < step ? 'done' : i === step ? 'next' : ''}"><i></i><span>${name}</span></li>`)}
    </ol>`;

  return {
    connection(state) {
      const pill = byId('link');
      pill.textContent = labels[state] || state;
      pill.className = 'pill ' + state;
      document.body.classList.toggle('offline', state !== 'open');
    },
    person(userId, known) {
      const shown = known ? userId : 'anonymous ' + userId.slice(0, 4) + '…' + userId.slice(-4);
      byId('who').textContent = shown;
      byId('who').title = userId;
    },
    profile(profile) {
      const traits = Object.entries({ ...profile?.computedTraits, ...profile?.customTraits });
      put(byId('traits'), traits.length ? html`${traits.map(trait)}` : html`<dt class="none">nothing known yet</dt>`);
      const audiences = profile?.audiences || [];
      fresh('audiences', audiences.map((audience) => audience.key).join());
      put(
        byId('audiences'),
        audiences.length
          ? html`<ul class="chips">${audiences.map(({ key, name, enteredAt }) => html`<li class="${fresh('in ' + key, enteredAt) && 'fresh'}" data-audience="${key}">${name}<time datetime="${enteredAt}">${since(enteredAt)}</time></li>`)}</ul>`
          : html`<p class="note">in none</p>`,
      );
      const checkout = profile?.funnels?.find((one) => one.key === 'checkout-funnel');
      put(byId('funnel'), checkout ? funnel(checkout) : html`<p class="note">not entered</p>`);
    },
    event(name) {
      const row: Row = { tone: 'wait', name, note: 'waiting' };
      line(row);
      return (tone, note) => {
        Object.assign(row, { tone, note });
        drawRows();
      };
    },
    line: (tone, name, note) => line({ tone, name, note }),
    push(name, ms) {
      const shown = ms === undefined ? html`no click` : html`${milliseconds(ms)}<small>ms</small>`;
      put(
        byId('push'),
        html`<h3>Last push</h3><p class="figure" data-push-ms="${ms === undefined ? '' : ms.toFixed(2)}">${shown}</p>
          <p class="note">${name}: ${ms === undefined ? 'due when you came, or by a timer' : 'from your click to the action on this page'}</p>`,
      );
      byId('push').classList.remove('fresh');
      // Reading the layout between the two restarts the animation.
      void byId('push').offsetWidth;
      byId('push').classList.add('fresh');
      line({ tone: 'push', name, note: ms === undefined ? 'pushed' : milliseconds(ms) + ' ms' });
    },
  };
};
