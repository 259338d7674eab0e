/** `${VAR}` and `${VAR:-default}` inside scalar values; `$${` stands for a literal `${`. */
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
