/** Writes plain data as YAML, as much of it as the configuration needs. The product's own parser reads it; a test checks that. */
const PLAIN = /^[A-Za-z_/][\w ./@-]*$/;
const WORDS = new Set(['true', 'false', 'null', 'yes', 'no', 'on', 'off', 'y', 'n', '~']);

/** yamlOf ends with a line break where the value has several lines. */
export function yamlOf(value: unknown, indent = ''): string {
  if (Array.isArray(value)) return value.length === 0 ? '[]' : listOf(value, indent);
  if (typeof value === 'object' && value !== null)
    return Object.keys(value).length === 0 ? '{}' : blockOf(value, indent);
  return scalarOf(value);
}

function blockOf(value: object, indent: string): string {
  return Object.entries(value)
    .filter(([, each]) => each !== undefined)
    .map(([key, each]) => `${indent}${scalarOf(key)}:${afterKey(each, `${indent}  `)}`)
    .join('');
}

function afterKey(value: unknown, indent: string): string {
  const text = yamlOf(value, indent);
  return text.endsWith('\n') ? `\n${text}` : ` ${text}\n`;
}

/** An item's first line stands behind its dash. */
function listOf(values: readonly unknown[], indent: string): string {
  return values
    .map((value) => {
      const text = yamlOf(value, `${indent}  `);
      return text.endsWith('\n') ? `${indent}- ${text.slice(indent.length + 2)}` : `${indent}- ${text}\n`;
    })
    .join('');
}

function scalarOf(value: unknown): string {
  if (typeof value !== 'string') return String(value);
  const isPlain = PLAIN.test(value) && !WORDS.has(value.toLowerCase()) && !value.endsWith(' ');
  return isPlain ? value : JSON.stringify(value);
}
