/** `${VAR}` and `${VAR:-default}` inside scalar values. */
import type { ScalarTag, Schema } from 'yaml';

export type Environment = Readonly<Record<string, string | undefined>>;

export type Substituted = { text: string } | { message: string };

/** Anything that starts like a reference; what is between the braces is judged afterwards. */
const REFERENCE = /\$\{([^}]*)(\}?)/g;
const INSIDE = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

/**
 * substitute replaces every reference in one scalar's text. As in a shell, the default also stands in for a variable
 * that is set but empty. Replacements are not read again, so a value cannot smuggle in a reference.
 */
export function substitute(text: string, env: Environment): Substituted {
  let message: string | null = null;
  const replaced = text.replace(REFERENCE, (whole: string, inside: string, closing: string) => {
    const found = closing === '' ? null : INSIDE.exec(inside);
    const name = found?.[1];
    if (name === undefined) {
      message ??= 'has a "${" without the name of a variable and a closing brace after it';
      return whole;
    }
    const value = env[name];
    const fallback = found?.[2];
    if (fallback !== undefined) return value === undefined || value === '' ? fallback : value;
    if (value === undefined) message ??= `the environment variable ${name} is not set`;
    return value ?? '';
  });
  return message === null ? { text: replaced } : { message };
}

/**
 * typeAgain reads the text of an unquoted scalar as the YAML core schema would have, had it stood in the file:
 * `4` is a number, `true` a boolean, nothing is null. Only scalars can come out of it, never a list or a mapping.
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
