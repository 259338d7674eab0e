/** Examples of the documentation, so that tests run what readers copy. */
import { readFileSync } from 'node:fs';

const DOCS = new URL('../../docs/', import.meta.url);

/** docExample returns the first YAML block below a heading (its text without `#`) of a page in docs/. */
export function docExample(page: string, heading: string): string {
  return blockOf(page, heading, 'yaml');
}

/** docCommands returns the commands of the first block of sh below a heading, each in one line. */
export function docCommands(page: string, heading: string): string[] {
  return blockOf(page, heading, 'sh')
    .replace(/\\\n\s*/g, '')
    .trim()
    .split('\n');
}

function blockOf(page: string, heading: string, language: string): string {
  const text = readFileSync(new URL(page, DOCS), 'utf8');
  const at = text.search(new RegExp(`^#+ ${heading}$`, 'm'));
  const block = new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``);
  const [, found] = block.exec(at === -1 ? '' : text.slice(at)) ?? [];
  if (found === undefined) throw new Error(`docs/${page} has no example below ${heading}`);
  return found;
}
