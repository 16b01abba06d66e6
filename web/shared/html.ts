/** HTML by template: `html` escapes every value except what `html` itself or `raw` has made. */

export class Html {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text;
  }
}

type Part = Html | string | number | false | null | undefined | Part[];

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

export const escape = (text: string): string => text.replace(/[&<>"']/g, (char) => entities[char]!);

const render = (part: Part): string => {
  if (part instanceof Html) return part.text;
  if (Array.isArray(part)) return part.map(render).join('');
  return part === false || part == null ? '' : escape(String(part));
};

export const html = (strings: TemplateStringsArray, ...parts: Part[]): Html =>
  new Html(strings.reduce((text, string, i) => text + render(parts[i - 1]) + string));

/** Markup of our own making, such as drawings. */
export const raw = (text: string): Html => new Html(text);

export const put = (element: Element, content: Html): void => {
  element.innerHTML = content.text;
};

export const byId = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
