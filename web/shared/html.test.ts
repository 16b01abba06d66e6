import { html, raw } from './html';

test('values are escaped, our own markup is not, nothing stands for nothing', () => {
  const name = `<img src=x onerror="alert('1')">`;
  expect(String(html`<p title="${name}">${name}</p>`)).not.toContain('<img');
  expect(String(html`${raw('<i></i>')}${[html`<b>${1}</b>`, '&']}${false}${null}${undefined}${0}`)).toBe('<i></i><b>1</b>&amp;0');
});
