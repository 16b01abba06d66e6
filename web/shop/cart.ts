/** The cart, kept by this browser. */

import { productById, type Product } from './products';

export interface Line {
  product: Product;
  quantity: number;
}

interface Kept {
  lines: Record<string, number>;
  coupon: string | null;
}

const key = 'mossgate_cart';
/** Codes and what they take off. */
const coupons: Record<string, number> = { HELLO10: 0.1 };

const read = (): Kept => {
  try {
    return { lines: {}, coupon: null, ...(JSON.parse(localStorage.getItem(key) || '{}') as Partial<Kept>) };
  } catch {
    return { lines: {}, coupon: null };
  }
};

let kept = read();

const save = (): void => {
  try {
    localStorage.setItem(key, JSON.stringify(kept));
  } catch {
    // Kept for this page only.
  }
};

export const lines = (): Line[] =>
  Object.entries(kept.lines).flatMap(([id, quantity]) => {
    const product = productById(id);
    return product ? [{ product, quantity }] : [];
  });

export const count = (): number => lines().reduce((sum, line) => sum + line.quantity, 0);

export const setQuantity = (id: string, quantity: number): void => {
  if (quantity > 0) kept.lines[id] = quantity;
  else delete kept.lines[id];
  save();
};

export const add = (id: string, quantity: number): void => setQuantity(id, (kept.lines[id] || 0) + quantity);

export const coupon = (): string | null => kept.coupon;

export const setCoupon = (code: string | null): void => {
  kept.coupon = code;
  save();
};

const cents = (amount: number): number => Math.round(amount * 100) / 100;

export const totals = (): { goods: number; discount: number; total: number } => {
  const goods = lines().reduce((sum, line) => sum + line.product.price * line.quantity, 0);
  const discount = cents(goods * ((kept.coupon && coupons[kept.coupon]) || 0));
  return { goods, discount, total: cents(goods - discount) };
};

/** After an order, or for a new visitor. */
export const clear = (): void => {
  kept = { lines: {}, coupon: null };
  save();
};
