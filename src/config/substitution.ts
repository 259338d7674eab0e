/** `${VAR}` and `${VAR:-default}` inside scalar values; `$${` stands for a literal `${`. */
import type { ScalarTag, Schema } from 'yaml';

export type Environment = Readonly<Record<string, string | undefined>>;

/** An escape, or anything that begins like a reference; INSIDE then checks what is between the braces. */
const REFERENCE = /\$\$\{|\$\{([^}]*)(\}?)/g;
const INSIDE = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

/**
 * substitute replaces every reference in the text of one scalar. As in a shell, the default also stands in for an empty
 * variable. It does not read the replacements again, so the value of a variable cannot bring in a reference.
 */
export function substitute(text: string, env: Environment): { text: string } | { message: string } {
  let message: string | null = null;
  const replaced = text.replace(REFERENCE, (whole: string, inside?: string, closing?: string) => {
    if (inside === undefined) return '${';
    const [, name, fallback] = (closing !== '' && INSIDE.exec(inside)) || [];
    if (name === undefined)
      message ??= 'has a "${" without the name of a variable and a closing brace after it';
    else if (fallback?.includes('${'))
      message ??= `has a default of ${name} with a variable in it, which is not supported`;
    else if (fallback !== undefined) return env[name] || fallback;
    else if (env[name] === undefined) message ??= `the environment variable ${name} is not set`;
    else return env[name];
    return whole;
  });
  return message === null ? { text: replaced } : { message };
}

/**
 * typeAgain gives the text of an unquoted scalar the type that it would have in the file: `4` is a number, `true` a
 * boolean, an empty text null. The result is never a list or a mapping.
 */
export function typeAgain(text: string, schema: Schema): unknown {
  const trimmed = text.trim();
  const tag = schema.tags.find(
    (candidate): candidate is ScalarTag =>
      candidate.default === true && 'test' in candidate && candidate.test?.test(trimmed) === true,
  );
  if (tag === undefined) return text;
  const value: unknown = tag.resolve(trimmed, () => undefined, {});
  return typeof value === 'object' && value !== null && 'value' in value ? value.value : value;
}
