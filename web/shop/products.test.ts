import { money, search } from './products';

test('money is whole where it is whole', () => {
  expect([money(18), money(16.2), money(0), money(1240)]).toEqual(['$18', '$16.20', '$0', '$1,240']);
});

test('a search wants every word, anywhere', () => {
  expect(search('wool').map((product) => product.id)).toEqual(['fjell-throw']);
  expect(search('Brew HAND').map((product) => product.id)).toEqual(['heron-kettle', 'tide-mug']);
  expect(search('anvil')).toEqual([]);
});
