/** What the encoders of access lines share: parts that stay the same for many lines, and texts and numbers in JSON. */
import { jsonText } from '../contract/json-text.ts';
import { LINE_BYTES, UTF8_BYTES } from '../infra/logging/line-sink.ts';
import type { AccessRecord } from './access-record.ts';

export const USER_AGENT_BYTES = 1000;
/** Most bytes of any other text; the path gets what the line has left. */
const TEXT_BYTES = 256;
/** Names of policies in one line; each has at most 64 characters. */
const MAX_POLICIES = 8;

/** SteadyPart makes the text of neighbouring fields, and keeps it as long as the next lines have the same values. */
export class SteadyPart {
  readonly #areSame: (a: AccessRecord, b: AccessRecord) => boolean;
  readonly #encode: (record: AccessRecord) => string;
  #last: AccessRecord | null = null;
  #text = '';

  constructor(
    areSame: (a: AccessRecord, b: AccessRecord) => boolean,
    encode: (record: AccessRecord) => string,
  ) {
    this.#areSame = areSame;
    this.#encode = encode;
  }

  of(record: AccessRecord): string {
    if (this.#last === null || !this.#areSame(this.#last, record)) {
      this.#text = this.#encode(record);
      this.#last = record;
    }
    return this.#text;
  }
}

/** sameCaller compares what is between the ids and the path. */
export function sameCaller(a: AccessRecord, b: AccessRecord): boolean {
  return (
    a.clientIp === b.clientIp &&
    a.clientId === b.clientId &&
    a.method === b.method &&
    a.protocol === b.protocol &&
    a.host === b.host
  );
}

/** sameOutcome compares what is between the path and the times. */
export function sameOutcome(a: AccessRecord, b: AccessRecord): boolean {
  return (
    a.status === b.status &&
    a.grpcStatus === b.grpcStatus &&
    a.reason === b.reason &&
    a.bytesIn === b.bytesIn &&
    a.bytesOut === b.bytesOut
  );
}

/** sameOrigin compares what is from the backend to the end. */
export function sameOrigin(a: AccessRecord, b: AccessRecord): boolean {
  return (
    a.attempts === b.attempts &&
    a.route === b.route &&
    a.userAgent === b.userAgent &&
    samePolicies(a.policies, b.policies)
  );
}

type Policies = AccessRecord['policies'];

function samePolicies(a: Policies, b: Policies): boolean {
  if (a === null || b === null) return a === b;
  return a.length === b.length && a.every((name, i) => name === b[i]);
}

/** policyList encodes the names of policies. */
export function policyList(policies: Policies): string {
  return policies === null ? 'null' : JSON.stringify(policies.slice(0, MAX_POLICIES));
}

/** pathText encodes the path in the bytes that the rest of the line leaves free. */
export function pathText(path: string | null, before: string, after: string): string {
  if (path === null) return 'null';
  // Counting bytes takes as long as making the line, so it is done only for lines that may be too long.
  const mostBytes = (before.length + after.length) * UTF8_BYTES + path.length * ESCAPED_BYTES + QUOTES_BYTES;
  if (mostBytes <= LINE_BYTES) return text(path, LINE_BYTES);
  return text(path, LINE_BYTES + NEWLINE_BYTES - Buffer.byteLength(before) - Buffer.byteLength(after));
}

const PLAIN_TEXT = /^[ !#-[\]-~]*$/;
const QUOTES_BYTES = 2;
const NEWLINE_BYTES = 1;
/** Most bytes that an escaped UTF-16 unit takes (\\u0000). */
const ESCAPED_BYTES = 6;

/** text encodes a string as JSON in at most maxBytes of UTF-8, quotes included. */
export function text(value: string | null, maxBytes = TEXT_BYTES): string {
  if (value === null) return 'null';
  const room = maxBytes - QUOTES_BYTES;
  const start = value.length <= room ? value : value.slice(0, Math.max(0, room));
  if (PLAIN_TEXT.test(start)) return `"${start}"`;
  if (value.length * ESCAPED_BYTES <= room) return jsonText(value);
  return jsonText(start.slice(0, fittingLength(start, room)));
}

const [QUOTE, BACKSLASH, SPACE, DELETE, LAST_CONTROL] = [0x22, 0x5c, 0x20, 0x7f, 0x9f];
/** \b, \t, \n, \f and \r have short escapes. */
const SHORT_ESCAPES: ReadonlySet<number> = new Set([8, 9, 10, 12, 13]);
const LAST_OF_2_BYTES = 0x7ff;
const FIRST_OF_4_BYTES = 0x1_0000;

/** How much of a text fits into room bytes as JSON. To encode character by character took twenty times as long. */
function fittingLength(value: string, room: number): number {
  let bytes = 0;
  for (let i = 0; i < value.length; i++) {
    const code = value.codePointAt(i)!;
    bytes += encodedBytes(code);
    if (bytes > room) return i;
    if (code >= FIRST_OF_4_BYTES) i += 1;
  }
  return value.length;
}

/** Bytes of UTF-8 that jsonText makes of a code point (RFC 8259 §7; JSON.stringify escapes surrogates without the other half, too). */
function encodedBytes(code: number): number {
  if (code < DELETE) {
    if (code >= SPACE) return code === QUOTE || code === BACKSLASH ? 2 : 1;
    return SHORT_ESCAPES.has(code) ? 2 : ESCAPED_BYTES;
  }
  if (code <= LAST_CONTROL) return ESCAPED_BYTES;
  if (code <= LAST_OF_2_BYTES) return 2;
  if (code >= FIRST_OF_4_BYTES) return 4;
  return code >= 0xd800 && code <= 0xdfff ? ESCAPED_BYTES : 3;
}

/** V8 writes whole numbers up to here five times as fast as fractions. */
const MAX_WHOLE = 0x7fff_ffff;
const DECIMALS = Array.from({ length: 1000 }, (_, us) => String(us / 1000).slice(1));

/** ms encodes milliseconds with three decimals. */
export function ms(value: number | null): string {
  if (value === null) return 'null';
  const us = Math.round(value * 1000);
  if (!(us >= 0 && us <= MAX_WHOLE)) return String(us / 1000);
  const whole = Math.floor(us / 1000);
  return String(whole) + DECIMALS[us - whole * 1000];
}
