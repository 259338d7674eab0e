/** JSON for logs and terminals. */

const CONTROLS = /[\x7f-\x9f]/g;

/** jsonText is JSON.stringify, which escapes control characters up to U+001F only: U+009B would begin a sequence of a terminal. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value).replace(CONTROLS, (each) => `\\u00${each.charCodeAt(0).toString(16)}`);
}
