/** Light or dark: the system's choice until the visitor makes one, which this browser then keeps. */

const key = 'theme';

const apply = (theme: string | null): void => {
  if (theme) document.documentElement.dataset.theme = theme;
};

const kept = (): string | null => {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
};

export const startTheme = (button: HTMLElement): void => {
  apply(kept());
  button.addEventListener('click', () => {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === 'dark'
      : matchMedia('(prefers-color-scheme: dark)').matches;
    const next = dark ? 'light' : 'dark';
    apply(next);
    try {
      localStorage.setItem(key, next);
    } catch {
      // Kept for this page only.
    }
  });
};
