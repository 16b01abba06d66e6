/** The pages of the shop as HTML. Nothing here tracks or listens: buttons carry `data-do` and shop.ts acts on it. */

import { html, type Html } from '../shared/html';
import { art, hills, icon, mark } from './art';
import * as cart from './cart';
import { categories, money, products, type Product } from './products';

export const header = (who: string | null, query: string): Html => html`
  <a class="brand" href="#/">${mark}<span>Mossgate</span></a>
  <nav aria-label="Categories">${categories.map((name) => html`<a href="#/category/${name}">${name}</a>`)}</nav>
  <form class="search" data-do="search" role="search">
    ${icon('search')}
    <input type="search" name="query" placeholder="Search" aria-label="Search" value="${query}" autocomplete="off" />
  </form>
  <div class="tools">
    ${
      who
        ? html`<button type="button" class="quiet" data-do="sign-out" title="Sign out">${icon('person')}<span>${who}</span></button>`
        : html`<button type="button" class="quiet" data-do="ask-name">${icon('person')}<span>Sign in</span></button>`
    }
    <button type="button" class="quiet" id="theme" aria-label="Light or dark">${icon('theme')}</button>
    <a class="cart" href="#/cart" aria-label="Cart, ${cart.count()} items">${icon('cart')}${cart.count() > 0 && html`<b>${cart.count()}</b>`}</a>
  </div>`;

const card = (product: Product): Html => html`
  <a class="card" href="#/product/${product.id}" data-product="${product.id}">
    <span class="tile tone-${product.id}">${art(product.id)}</span>
    <span class="row"><strong>${product.name}</strong><span class="price">${money(product.price)}</span></span>
    <span class="line">${product.line}</span>
  </a>`;

const grid = (list: Product[]): Html => html`<div class="grid">${list.map(card)}</div>`;

export const home = (): Html => html`
  <section class="hero">
    ${hills}
    <div>
      <p class="over">Autumn, slowly</p>
      <h1>Quiet goods for&nbsp;slow&nbsp;mornings</h1>
      <p>Eight things, made to be kept. Look around; the panel shows what the engine makes of it while you do.</p>
    </div>
  </section>
  <section><h2>All eight of them</h2>${grid(products)}</section>`;

export const list = (title: string, found: Product[]): Html => html`
  <section class="listing">
    <h1>${title}</h1>
    ${found.length ? grid(found) : html`<p class="empty">Nothing here by that name. We make eight things; <a href="#/">see them all</a>.</p>`}
  </section>`;

export const product = (item: Product): Html => html`
  <nav class="crumbs" aria-label="You are here"><a href="#/">Home</a><span>/</span><a href="#/category/${item.category}">${item.category}</a></nav>
  <article class="product">
    <div class="tile tone-${item.id}">${art(item.id, item.name)}</div>
    <div class="about">
      <p class="over">${item.line}</p>
      <h1>${item.name}</h1>
      <p class="price">${money(item.price)}</p>
      <p>${item.story}</p>
      <ul>${item.details.map((detail) => html`<li>${detail}</li>`)}</ul>
      <form class="buy" data-do="add" data-product="${item.id}">
        <label>Quantity <input type="number" name="quantity" value="1" min="1" max="9" inputmode="numeric" /></label>
        <button class="primary">Add to cart</button>
      </form>
    </div>
  </article>
  <section><h2>Goes well with</h2>${grid(products.filter((other) => other.id !== item.id && other.category !== item.category).slice(0, 4))}</section>`;

const sums = (): Html => {
  const { goods, discount, total } = cart.totals();
  return html`<dl class="sums">
    <dt>Goods</dt><dd>${money(goods)}</dd>
    ${discount > 0 && html`<dt class="off">Coupon ${cart.coupon()}</dt><dd class="off">−${money(discount)}</dd>`}
    <dt>Shipping</dt><dd>On us</dd>
    <dt class="total">Total</dt><dd class="total">${money(total)}</dd>
  </dl>`;
};

const nothing = html`<p class="empty">Your cart is empty. <a href="#/">Have a look around</a>.</p>`;

export const cartPage = (): Html => html`
  <section class="listing">
    <h1>Cart</h1>
    ${
      cart.count() === 0
        ? nothing
        : html`<div class="basket">
            <ul class="lines">
              ${cart.lines().map(
                ({ product: item, quantity }) => html`<li>
                  <a class="tile tone-${item.id}" href="#/product/${item.id}" aria-label="${item.name}">${art(item.id)}</a>
                  <div><strong>${item.name}</strong><span class="line">${money(item.price)} each</span></div>
                  <div class="stepper">
                    <button type="button" data-do="less" data-product="${item.id}" aria-label="One less">−</button>
                    <span>${quantity}</span>
                    <button type="button" data-do="more" data-product="${item.id}" aria-label="One more">+</button>
                  </div>
                  <span class="price">${money(item.price * quantity)}</span>
                </li>`,
              )}
            </ul>
            <div class="summary">${sums()}<a class="primary" href="#/checkout">Check out</a></div>
          </div>`
    }
  </section>`;

export const checkout = (who: string | null): Html => html`
  <section class="listing">
    <h1>Check out</h1>
    ${
      cart.count() === 0
        ? nothing
        : html`<form class="basket" data-do="order">
            <div class="fields">
              <label>Name<input name="name" value="${who || 'Ada Marsh'}" autocomplete="off" required /></label>
              <label>Street<input name="street" value="7 Fern Lane" autocomplete="off" required /></label>
              <label>Town<input name="town" value="Little Tarn" autocomplete="off" required /></label>
              <p class="line">A demo: these fields stay in this page and no payment is asked for.</p>
            </div>
            <div class="summary">${sums()}<button class="primary">Place order</button></div>
          </form>`
    }
  </section>`;

export const thanks = (amount: string): Html => html`
  <section class="listing thanks">
    <span class="tile tone-loam-planter">${art('loam-planter')}</span>
    <h1>Thank you.</h1>
    <p>Your order over <strong>${amount}</strong> is in. The engine has moved you to the end of its funnel; have a look at the panel.</p>
    <a class="primary" href="#/">Keep looking around</a>
  </section>`;

export const signIn = (): Html => html`
  <form method="dialog" data-do="sign-in">
    <h2>Who is it?</h2>
    <p>Any name will do. Signing in joins what you did so far, anonymously, to that person.</p>
    <label>Name<input name="name" maxlength="40" autocomplete="off" required autofocus /></label>
    <div class="actions"><button type="button" class="quiet" data-do="close-dialog">Cancel</button><button class="primary">Sign in</button></div>
  </form>`;
