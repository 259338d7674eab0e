/** Makes configuration files from templates with placeholders `@NAME@`. */
import { readFileSync, writeFileSync } from 'node:fs';

/** fillTemplate writes the filled template to `target`. It throws if a name has no value. */
export function fillTemplate(template: URL, target: string, values: Record<string, string | number>): void {
  const text = readFileSync(template, 'utf8').replace(/@([A-Z_]+)@/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`${template.pathname}: no value for @${name}@`);
    return String(value);
  });
  writeFileSync(target, text);
}
