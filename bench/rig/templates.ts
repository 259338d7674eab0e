/** Config files of servers: templates with `@NAME@` in them. */
import { readFileSync, writeFileSync } from 'node:fs';

/** fillTemplate writes `target` from the template; a name without a value is an error. */
export function fillTemplate(template: URL, target: string, values: Record<string, string | number>): void {
  const text = readFileSync(template, 'utf8').replace(/@([A-Z_]+)@/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`${template.pathname}: no value for @${name}@`);
    return String(value);
  });
  writeFileSync(target, text);
}
