/**
 * Header fields as text: lines `name: value`, each with its CRLF. Heads are read, rewritten and sent in this form; only
 * what wants single fields takes them apart.
 */

/** fieldsOf gives a flat list name, value, name, value…; the text must be made of sound lines. */
export function fieldsOf(lines: string): string[] {
  const fields: string[] = [];
  for (let at = 0; at < lines.length; ) {
    const colon = lines.indexOf(':', at);
    const end = lines.indexOf('\r', colon);
    fields.push(lines.slice(at, colon), lines.slice(colon + 2, end));
    at = end + 2;
  }
  return fields;
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
