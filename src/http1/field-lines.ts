/** Header fields as text: lines `name: value`, each with its CRLF. Heads are read, rewritten and sent in this form. */
import { COLON, trimmedValue } from './head-bytes.ts';
import { isFraming, isTrailerAllowed } from './header-names.ts';

/** The most lines of a backend's head, or of a trailer section. */
export const HEADERS_MAX_COUNT = 200;

/** RFC 9112 §5, read strictly: a token, no blank before the colon, no control byte but HTAB. */
const LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)\r\n$/;

/** readTrailer returns name and value of a line with its CRLF; []: the name may not be a trailer; null: the line is malformed. */
export function readTrailer(line: string, refusesFraming = false): string[] | null {
  const [, name, value] = LINE.exec(line) ?? [];
  if (name === undefined || value === undefined || (refusesFraming && isFraming(name))) return null;
  return isTrailerAllowed(name) ? [name, trimmedValue(value)] : [];
}

/** fieldsOf lists name, value, name, value… of well-formed lines. */
export function fieldsOf(lines: string): string[] {
  const fields: string[] = [];
  pushFields(fields, lines);
  return fields;
}

/** pushFields appends them to a list. @param from the index of the first line that is wanted */
export function pushFields(fields: string[], lines: string, from = 0): void {
  for (let at = from; at < lines.length; ) {
    const colon = lines.indexOf(':', at);
    const end = lines.indexOf('\r', colon);
    fields.push(lines.slice(at, colon), lines.slice(colon + 2, end));
    at = end + 2;
  }
}

/** fieldValues lists the values of all fields of one name in well-formed lines. */
export function fieldValues(lines: string, lowerName: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < lines.length; ) {
    const next = lines.indexOf('\n', at) + 1;
    const colon = at + lowerName.length;
    if (lines.charCodeAt(colon) === COLON && lines.slice(at, colon).toLowerCase() === lowerName) {
      values.push(lines.slice(colon + 2, next - 2));
    }
    at = next;
  }
  return values;
}

/** withoutFields leaves out the lines of these names. */
export function withoutFields(lines: string, lowerNames: ReadonlySet<string>): string {
  let kept = '';
  for (let at = 0; at < lines.length; ) {
    const next = lines.indexOf('\n', at) + 1;
    const name = lines.slice(at, lines.indexOf(':', at));
    if (!lowerNames.has(name.toLowerCase())) kept += lines.slice(at, next);
    at = next;
  }
  return kept;
}
