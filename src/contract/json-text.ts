/** Texts for logs and terminals. */

const CONTROLS = /[\x7f-\x9f]/g;

/** jsonText is JSON.stringify, which escapes control characters up to U+001F only: U+009B would begin a sequence of a terminal. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value).replace(CONTROLS, (each) => `\\u00${each.charCodeAt(0).toString(16)}`);
}

/** printable is a text of one line: whoever names a key must not steer the terminal of those who list it, nor break the table. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}]/gu, (each) => `\\u{${each.charCodeAt(0).toString(16)}}`);
}

/** The longest text of another program that is told. */
const MAX_CHARACTERS = 200;

/** shortText is what a peer has said, in one printable line of at most 200 characters. */
export function shortText(text: string): string {
  const shown = printable(text.slice(0, MAX_CHARACTERS + 1));
  return shown.length <= MAX_CHARACTERS ? shown : `${shown.slice(0, MAX_CHARACTERS - 1)}…`;
}
