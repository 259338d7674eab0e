/** Light, dark, or as the system says. The choice is kept for this origin. */
import { Store } from '../api/store.ts';

export const THEMES = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

const KEY = 'sluice-theme';

function kept(): Theme {
  const text = localStorage.getItem(KEY);
  return THEMES.find((theme) => theme === text) ?? 'auto';
}

export const theme = new Store<Theme>(kept());
/** Counts changes of the colours, by the choice or by the system: charts are drawn anew with each. */
export const paint = new Store(0);

/** applyTheme sets what the style sheet looks at; main.tsx calls it before the first drawing. */
export function applyTheme(): void {
  document.documentElement.dataset.theme = theme.value;
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => paint.set(paint.value + 1));
}

export function chooseTheme(next: Theme): void {
  localStorage.setItem(KEY, next);
  document.documentElement.dataset.theme = next;
  theme.set(next);
  paint.set(paint.value + 1);
}

/** colourOf resolves a variable of the style sheet, such as `--bad`, for a canvas. */
export function colourOf(variable: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(${variable})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
