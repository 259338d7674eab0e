/** Texts that try to become a second field, a second message or the end of one, and a strict look at what leaves. */
import type { Random } from './random.ts';

const PIECES = [
  ...[
    '\r\n',
    '\r',
    '\n',
    '\0',
    '\r\n ',
    '\r\n\r\n',
    '\n\n',
    '\x0b',
    '\x0c',
    '\x1f',
    '\x7f',
    '\x85',
    '\x80',
    '\xff',
  ],
  ...[
    '\r\nX-Injected: 1',
    '\nX-Injected: 1',
    '\rX-Injected: 1',
    '\0X-Injected: 1',
    '\u010a\u010dX-Injected: 1',
  ],
  '\r\nContent-Length: 0\r\n\r\nGET /injected HTTP/1.1\r\nHost: a\r\nX-Case: 0\r\n\r\n',
  '\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ...[' ', '\t', ':', ',', ';', '"', '%0d%0aX-Injected: 1', '%00', '\\r\\n', 'a', 'b.c', '1', '-'],
];

/** hostile makes a text of latin1 characters, most of which are attacks. */
export function hostile(random: Random): string {
  const text = random.some(4, () => (random.oneIn(3) ? random.text(6) : random.pick(PIECES))).join('');
  // As a careless program cuts characters down to bytes: U+010A becomes LF.
  return Buffer.from(text, 'latin1').toString('latin1');
}

/** isFieldValue tells whether a text may be the value of a field (RFC 9110 §5.5), but for blanks around it. */
export function isFieldValue(text: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(text);
}

/** trimmed removes what is no part of a value: SP and HTAB alone (RFC 9110 §5.6.3). */
export function trimmed(text: string): string {
  return text.replace(/^[ \t]+|[ \t]+$/g, '');
}

const LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/;

/** fieldsOf reads the lines of a head strictly. A fault begins with `!`. @param lines without the first line of the message */
export function fieldsOf(lines: readonly string[]): Map<string, string[]> | string {
  const fields = new Map<string, string[]>();
  for (const line of lines) {
    const [, name = '', value = ''] = LINE.exec(line) ?? [];
    if (name === '') return `! not a field line: ${JSON.stringify(line)}`;
    const key = name.toLowerCase();
    fields.set(key, [...(fields.get(key) ?? []), trimmed(value)]);
  }
  return fields;
}

/** What a field may hold: a text, or a pattern for what Sluice makes. */
export type Wanted = Record<string, (string | RegExp)[]>;

/** faultsOf lists the fields that nobody wanted, values that are others, and fields that came too often. */
export function faultsOf(fields: ReadonlyMap<string, string[]>, wanted: Wanted): string[] {
  const faults: string[] = [];
  for (const [name, values] of fields) {
    const allowed = wanted[name] ?? [];
    // Ours comes as a line of its own beside that of the other side.
    if (values.length > (name === 'via' ? 2 : 1)) faults.push(`twice: ${name}`);
    for (const value of values)
      if (!allowed.some((each) => (typeof each === 'string' ? each === value : each.test(value))))
        faults.push(`${name}: ${JSON.stringify(value)}`);
  }
  return faults;
}

/** What Sluice adds to a request: for a trusted peer what it said, too. */
export function added(said: string, host: string): Wanted {
  const ID = /^[A-Za-z0-9._-]{1,128}$/;
  return {
    'x-forwarded-for': ['127.0.0.1', `${said}, 127.0.0.1`],
    'x-forwarded-proto': ['http', 'https', said],
    'x-forwarded-host': [host, said],
    'x-real-ip': [/^[0-9a-f.:]+$/],
    'x-request-id': [ID],
    forwarded: [said],
    via: ['1.1 sluice', said],
    traceparent: [/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/],
    tracestate: [said],
  };
}
