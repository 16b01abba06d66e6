/** The demo shop: pages by hash route, what is tracked where, and the panel that shows what comes of it. */

import { lodestone, type Result } from '/sdk/lodestone.mjs';
import { byId, put, type Html } from '../shared/html';
import { startTheme } from '../shared/theme';
import * as cart from './cart';
import { openOffers } from './offers';
import { openPanel } from './panel';
import { categories, money, productById, products, search } from './products';
import { watchProfile } from './profile';
import * as views from './views';

/** The demo catalog's public token. It may track and receive, never read. */
const writeKey = 'ls_wk_demo';
/** A push later than this was not caused by the last click. */
const causedMs = 3_000;
const reactions: Record<string, string> = { show: 'shown', hide: 'hidden', decline: 'declined', accept: 'accepted' };

const panel = openPanel();
let clickedAt = -Infinity;
let lastOrder = '';
let lastQuery = '';

const userId = (): string => lodestone.user().id() || lodestone.user().anonymousId();
const personName = (): string | null => (lodestone.user().id() ? String(lodestone.user().traits().name || lodestone.user().id()) : null);

const offers = openOffers(
  (action) => {
    if (action.type === 'banner') cart.setCoupon(String(action.properties.code));
    else if (action.type === 'notice') location.hash = '#/cart';
    drawHeader();
    if (/^#\/(cart|checkout)/.test(location.hash)) draw();
  },
  (action, reaction, failure) => {
    panel.line(failure ? 'bad' : 'react', `${action.type} ${reactions[reaction]}`, failure || 'recorded');
    poke();
  },
);

// ---- tracking ----

const outcome = (complete: ReturnType<typeof panel.event>) => (result: Result) => {
  const good = result.status === 'stored' || result.status === 'duplicate';
  complete(good ? 'ok' : 'bad', good && result.latencyMs !== undefined ? result.latencyMs.toFixed(1) + ' ms' : result.code || result.status);
  poke();
};

const track = (event: string, properties: Record<string, unknown>): void => {
  void lodestone.track(event, properties).then(outcome(panel.event(event)));
};

// ---- pages ----

const drawHeader = (): void => {
  put(byId('header'), views.header(personName(), lastQuery));
  startTheme(byId('theme'));
  panel.person(userId(), lodestone.user().id() !== null);
};

const page = ([name, argument]: string[]): Html => {
  switch (name) {
    case 'product': {
      const item = productById(argument || '');
      return item ? views.product(item) : views.list('Not found', []);
    }
    case 'category':
      return views.list(
        argument || '',
        products.filter((item) => item.category === categories.find((category) => category === argument)),
      );
    case 'search':
      return views.list(`“${argument}”`, search(argument || ''));
    case 'cart':
      return views.cartPage();
    case 'checkout':
      return views.checkout(personName());
    case 'thanks':
      return views.thanks(lastOrder);
    default:
      return views.home();
  }
};

const decode = (part: string): string => {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
};

const route = (): string[] => location.hash.replace(/^#\//, '').split('/').map(decode);

const draw = (): void => {
  put(byId('main'), page(route()));
};

/** A page was entered: draw it and say so. */
const visit = (): void => {
  const [name, argument] = route();
  lodestone.context({ path: '/' + route().filter(Boolean).join('/') });
  if (name !== 'search') lastQuery = '';
  draw();
  drawHeader();
  scrollTo(0, 0);
  const item = name === 'product' && productById(argument || '');
  if (item) track('Product Viewed', { product: item.name, price: item.price, category: item.category });
  if (name === 'checkout' && cart.count()) track('Checkout Started', { total: cart.totals().total, items: cart.count() });
};

// ---- what visitors do ----

const field = (form: HTMLFormElement, name: string): string => String(new FormData(form).get(name) || '').trim();

const putIntoCart = (id: string, quantity: number): void => {
  const item = productById(id);
  if (!item) return;
  cart.add(id, quantity);
  track('Product Added', { product: item.name, price: item.price, quantity });
  drawHeader();
};

const newVisitor = (): void => {
  void lodestone.reset().then(() => poke());
  cart.clear();
  offers.clear();
  panel.profile(undefined);
  panel.line('react', 'new visitor', 'reset');
  drawHeader();
  draw();
};

const clicks: Record<string, (button: HTMLElement) => void> = {
  'ask-name'() {
    put(byId('sign-in'), views.signIn());
    byId<HTMLDialogElement>('sign-in').showModal();
  },
  'close-dialog': () => byId<HTMLDialogElement>('sign-in').close(),
  'sign-out': newVisitor,
  'new-visitor': newVisitor,
  more({ dataset }) {
    putIntoCart(dataset.product!, 1);
    draw();
  },
  less({ dataset }) {
    const line = cart.lines().find((one) => one.product.id === dataset.product);
    if (line) cart.setQuantity(line.product.id, line.quantity - 1);
    draw();
    drawHeader();
  },
};

const submits: Record<string, (form: HTMLFormElement) => void> = {
  search(form) {
    const query = field(form, 'query');
    if (!query) return;
    lastQuery = query;
    track('Searched', { query });
    location.hash = '#/search/' + encodeURIComponent(query);
  },
  add(form) {
    putIntoCart(form.dataset.product!, Math.min(9, Math.max(1, Math.round(Number(field(form, 'quantity')) || 1))));
    const button = form.querySelector('button')!;
    button.textContent = 'In your cart';
    setTimeout(() => (button.textContent = 'Add to cart'), 1_600);
  },
  order() {
    const { total } = cart.totals();
    track('Purchase', { amount: total, items: cart.count() });
    lastOrder = money(total);
    cart.clear();
    location.hash = '#/thanks';
  },
  'sign-in'(form) {
    const name = field(form, 'name');
    const id = name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '');
    byId<HTMLDialogElement>('sign-in').close();
    if (id) void lodestone.identify(id, { name }).then(outcome(panel.event('identify ' + id)));
    drawHeader();
  },
};

document.addEventListener(
  'click',
  (event) => {
    clickedAt = event.timeStamp;
    const button = (event.target as Element).closest<HTMLElement>('button[data-do], button[data-offer]');
    if (!button) return;
    if (button.dataset.offer) void offers.press(button, button.dataset.offer);
    else clicks[button.dataset.do!]?.(button);
  },
  true,
);
document.addEventListener('submit', (event) => {
  event.preventDefault();
  clickedAt = Math.max(clickedAt, event.timeStamp);
  const form = event.target as HTMLFormElement;
  submits[form.dataset.do!]?.(form);
});
addEventListener('hashchange', visit);

// ---- the engine ----

lodestone.on('connection', (state) => panel.connection(state));
lodestone.on('error', (fault) => panel.line('bad', fault.event || 'error', fault.code));
lodestone.load(writeKey);
const poke = watchProfile(userId, (profile) => panel.profile(profile));

lodestone.onAction((action) => {
  const ms = performance.now() - clickedAt;
  panel.push(String(action.properties.title || action.type), ms < causedMs ? ms : undefined);
  void offers.receive(action);
  poke();
});
lodestone.onRevoke((action, reason) => {
  panel.line('push', `${action.type} revoked`, reason);
  offers.revoke(action, reason);
  poke();
});

visit();
