/** Examples of the documentation, so that tests run what readers copy. */
import { readFileSync } from 'node:fs';

const DOCS = new URL('../../docs/', import.meta.url);

/** docExample returns the first YAML block below a heading (its text without `#`) of a page in docs/. */
export function docExample(page: string, heading: string): string {
  const text = readFileSync(new URL(page, DOCS), 'utf8');
  const at = text.search(new RegExp(`^#+ ${heading}$`, 'm'));
  const [, yaml] = /```yaml\n([\s\S]*?)```/.exec(at === -1 ? '' : text.slice(at)) ?? [];
  if (yaml === undefined) throw new Error(`docs/${page} has no example below ${heading}`);
  return yaml;
}
