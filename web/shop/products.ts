/** What Mossgate sells. Everything here is invented. */

export interface Product {
  id: string;
  name: string;
  category: 'Brew' | 'Light' | 'Rest' | 'Carry';
  /** US dollars. */
  price: number;
  line: string;
  story: string;
  details: string[];
}

export const products: Product[] = [
  {
    id: 'heron-kettle',
    name: 'Heron kettle',
    category: 'Brew',
    price: 68,
    line: 'A slow, steady pour',
    story: 'The neck is long so that your hand can be slow. Brushed steel, a handle that stays cool, and a spout that does not drip on the good tablecloth.',
    details: ['0.9 litres', 'Brushed steel', 'All hobs'],
  },
  {
    id: 'tide-mug',
    name: 'Tide mug',
    category: 'Brew',
    price: 18,
    line: 'Glazed by hand, twice',
    story: 'Two glazes meet at a different line on every mug, like water on sand. Holds exactly as much coffee as you should have.',
    details: ['320 ml', 'Stoneware', 'Dishwasher safe'],
  },
  {
    id: 'dusk-lamp',
    name: 'Dusk table lamp',
    category: 'Light',
    price: 94,
    line: 'The last hour of sun',
    story: 'A dome of opal glass over a warm, dimmable light. It makes a room feel like a quarter past eight in August.',
    details: ['Opal glass', 'Dimmable, 2200 K', 'Linen cable'],
  },
  {
    id: 'ember-lantern',
    name: 'Ember lantern',
    category: 'Light',
    price: 46,
    line: 'For porches and power cuts',
    story: 'A small flame behind real glass, in a frame that a blacksmith would nod at. Takes any tea light and any weather.',
    details: ['Powder-coated iron', 'Heat-proof glass', '28 cm'],
  },
  {
    id: 'fjell-throw',
    name: 'Fjell wool throw',
    category: 'Rest',
    price: 120,
    line: 'Heavier than it looks',
    story: 'Woven from undyed wool of two kinds of sheep, which is where the stripes come from. Large enough to argue over.',
    details: ['130 × 190 cm', 'Undyed wool', 'Woven to order'],
  },
  {
    id: 'loam-planter',
    name: 'Loam planter',
    category: 'Rest',
    price: 32,
    line: 'Forgives a missed watering',
    story: 'Unglazed clay breathes, and a hidden saucer keeps a week of water. The plant in the picture is called Gerald and is not included.',
    details: ['16 cm', 'Terracotta', 'Hidden reservoir'],
  },
  {
    id: 'ridge-daypack',
    name: 'Ridge daypack',
    category: 'Carry',
    price: 110,
    line: 'Up the hill, to the office',
    story: 'Waxed canvas and one zip that matters. Stands up by itself, sheds rain, and gets better looking each year.',
    details: ['18 litres', 'Waxed canvas', 'Fits a 15-inch laptop'],
  },
  {
    id: 'quill-notebook',
    name: 'Quill notebook',
    category: 'Carry',
    price: 16,
    line: 'Lies flat, stays quiet',
    story: 'Sewn so that it opens flat, ruled so lightly that you can ignore it. Paper that fountain pens like.',
    details: ['A5, 192 pages', 'Sewn binding', '100 g paper'],
  },
];

export const categories = ['Brew', 'Light', 'Rest', 'Carry'] as const;

export const productById = (id: string): Product | undefined => products.find((product) => product.id === id);

const dollars = (digits: number) => new Intl.NumberFormat('en-US', { style: 'currency', currency: 'USD', minimumFractionDigits: digits });
const whole = dollars(0);
const withCents = dollars(2);

/** `$18`, but `$16.20`. */
export const money = (amount: number): string => (Number.isInteger(amount) ? whole : withCents).format(amount);

/** Every word of the query must appear somewhere. */
export const search = (query: string): Product[] => {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return products.filter((product) => {
    const text = [product.name, product.category, product.line, product.story, ...product.details].join(' ').toLowerCase();
    return words.every((word) => text.includes(word));
  });
};
