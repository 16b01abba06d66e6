/** What is pushed: the coupon banner, deals that end or run out, and the cart notice. */

import type { Action } from '/sdk/lodestone.mjs';
import { byId, html, put, type Html } from '../shared/html';
import { icon } from './art';
import { instant, left } from './countdown';

/**
 * The banner has a cap on `shown`. The last allowed showing exhausts it, and the engine says so; that one stays on
 * screen. A deal has none: when it is capped, others have taken the last.
 */
const ownShowingMs = 1_500;

const leaveMs = 420;

export interface Offers {
  /** An action came, or changed. */
  receive(action: Action): Promise<void>;
  revoke(action: Action, reason: string): void;
  /** A button of an offer was pressed. */
  press(button: HTMLElement, what: string): Promise<void>;
  /** Takes everything away without a reaction, for a new visitor. */
  clear(): void;
}

interface Shown {
  action: Action;
  element: HTMLElement;
  at: number;
  answered: boolean;
}

const value = (action: Action, name: string): string => String(action.properties[name] ?? '');

const countdown = (ends: string): string => left(instant(ends, Date.now()) - Date.now());

/** Every countdown on the page goes on. When one is over the engine takes the offer back, not the page. */
const tick = (): void => {
  for (const element of document.querySelectorAll<HTMLElement>('[data-countdown]')) {
    element.textContent = countdown(element.dataset.countdown!);
  }
};

/** The part of a ticket that is torn off: what it is worth. A notice has none. */
const stub = (action: Action): Html | false => {
  switch (action.type) {
    case 'banner':
      return html`<div class="stub" aria-hidden="true"><b>10</b><span>%<br />off</span></div>`;
    case 'deal':
      return html`<div class="stub" aria-hidden="true"><b>${value(action, 'big')}</b><span>${value(action, 'small')}</span></div>`;
    default:
      return false;
  }
};

const front = (action: Action): Html => {
  const [product, ends] = [value(action, 'product'), value(action, 'ends')];
  return html`${stub(action)}
    <div class="words">
      <h2>${value(action, 'title')}</h2>
      <p>${value(action, 'body')}${product && html` <span class="last">Last seen: ${product}.</span>`}</p>
      ${ends && html`<p class="countdown" role="timer">Ends in <b data-countdown="${ends}">${countdown(ends)}</b></p>`}
      <div class="actions">
        <button type="button" class="primary" data-offer="accept">${value(action, 'accept')}</button>
        <button type="button" class="quiet" data-offer="decline">${value(action, 'decline')}</button>
      </div>
    </div>
    <button type="button" class="close" data-offer="hide" aria-label="Close">${icon('close')}</button>`;
};

const back = (action: Action): Html => html`${stub(action)}
  <div class="words">
    <h2>It is yours.</h2>
    <p>Your code <code data-code>${value(action, 'code')}</code> ${action.type === 'deal' ? 'comes with your order.' : 'is in your cart already.'}</p>
    <div class="actions"><button type="button" class="primary" data-offer="dismiss">Keep looking</button></div>
  </div>`;

export const openOffers = (
  accepted: (action: Action) => void,
  reacted: (action: Action, reaction: string, failure?: string) => void,
): Offers => {
  const shown = new Map<string, Shown>();
  setInterval(tick, 250);

  const remove = (offer: Shown) => {
    if (shown.get(offer.action.id) === offer) shown.delete(offer.action.id);
    offer.element.classList.add('leaving');
    setTimeout(() => offer.element.remove(), leaveMs);
  };

  const react = async (offer: Shown, reaction: 'accept' | 'decline' | 'hide') => {
    offer.answered = true;
    offer.element.classList.add('busy');
    try {
      await offer.action[reaction]();
      reacted(offer.action, reaction);
      if (reaction === 'accept' && offer.action.type !== 'notice') {
        offer.element.classList.add('accepted');
        put(offer.element, back(offer.action));
        accepted(offer.action);
      } else {
        remove(offer);
        if (reaction === 'accept') accepted(offer.action);
      }
    } catch (error) {
      reacted(offer.action, reaction, (error as { code?: string }).code || 'failed');
      put(offer.element, html`<div class="words"><h2>This one is gone.</h2><p>The offer ended while you were thinking about it.</p><div class="actions"><button type="button" class="quiet" data-offer="dismiss">Fine</button></div></div>`);
    } finally {
      offer.element.classList.remove('busy');
    }
  };

  return {
    async receive(action) {
      const there = shown.get(action.id);
      if (there) {
        if (!there.answered) put(there.element, front(action));
        return;
      }
      const element = document.createElement('section');
      element.className = 'offer ' + (stub(action) ? action.type : 'notice');
      element.dataset.action = action.id;
      element.setAttribute('aria-label', value(action, 'title'));
      const offer: Shown = { action, element, at: 0, answered: false };
      shown.set(action.id, offer);
      try {
        // Recorded before it is displayed: that is what makes a cap on showings strict.
        await action.show();
        reacted(action, 'show');
      } catch (error) {
        shown.delete(action.id);
        reacted(action, 'show', (error as { code?: string }).code || 'failed');
        return;
      }
      if (shown.get(action.id) !== offer) return;
      offer.at = Date.now();
      put(element, front(action));
      byId('offers').append(element);
    },
    revoke(action, reason) {
      const offer = shown.get(action.id);
      if (!offer || offer.answered) return;
      if (reason === 'capped' && action.type === 'banner' && Date.now() - offer.at < ownShowingMs) return;
      remove(offer);
    },
    async press(button, what) {
      const id = button.closest<HTMLElement>('.offer')?.dataset.action;
      const offer = id && shown.get(id);
      if (!offer) return;
      if (what === 'dismiss') remove(offer);
      else await react(offer, what as 'accept' | 'decline' | 'hide');
    },
    clear() {
      for (const offer of [...shown.values()]) remove(offer);
    },
  };
};
