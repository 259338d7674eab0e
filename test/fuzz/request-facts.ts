/**
 * The facts that our parser finds in a head, and those that it should find, derived from the fields of node's parser: a
 * second implementation of the rules for single fields in proxy/ and http1/.
 */
import { CHUNKED_BODY, NO_BODY, type RequestHead } from '../../src/contract/request-head.ts';
import { fieldsOf, withoutFields } from '../../src/http1/field-lines.ts';
import { passingHeaders, tokensOf } from './passing-fields.ts';
import type { ReadRequest } from './request-reader.ts';

/** Without sizes. Two heads are equal if their JSON is. */
export interface RequestFacts {
  method: string;
  target: string;
  version: string;
  /** Names and values, flat: the lines to forward for any peer. */
  passing: string[];
  lineCount: number;
  hosts: [count: number, last: string];
  /** The end of the request is not known, so it is refused and bodyLength has no meaning. */
  hasBadFraming: boolean;
  bodyLength: number;
  closes: boolean;
  keepsAlive: boolean;
  namesFraming: boolean;
  expects: [continued: boolean, unknown: boolean];
  wants: [upgrade: boolean, trailers: boolean];
  forwarded: [forWhom: string, proto: string, host: string, lines: string];
  traced: [requestId: string, parents: number, last: string, states: string];
  userAgent: string | null;
}

export function factsOfHead(head: RequestHead): RequestFacts {
  const lines = head.named === null ? head.lines : withoutFields(head.lines, head.named);
  return {
    method: head.method,
    target: head.target,
    version: `${Math.floor(head.httpVersion / 10)}.${head.httpVersion % 10}`,
    passing: fieldsOf(lines),
    lineCount: head.lineCount,
    hosts: [head.hostCount, head.host],
    hasBadFraming: head.hasBadFraming,
    bodyLength: head.hasBadFraming ? NO_BODY : head.bodyLength,
    closes: head.closes,
    keepsAlive: head.keepsAlive,
    namesFraming: head.namesFraming,
    expects: [head.expectsContinue, head.hasUnknownExpectation],
    wants: [head.wantsUpgrade, head.wantsTrailers],
    forwarded: [head.forwardedFor, head.forwardedProto, head.forwardedHost, head.forwardedLines],
    traced: [head.requestId, head.traceparentCount, head.traceparent, head.tracestateLines],
    userAgent: head.userAgent,
  };
}

/** Not among the lines to forward: parsed into other facts, or ignored. */
const TOLD = /_|^(?:host|expect|forwarded|x-forwarded-.*|x-real-ip|x-request-id|traceparent|tracestate)$/i;
const REQUEST_ID = /^[\w.-]{1,128}$/;

export function factsOfRead(read: ReadRequest): RequestFacts {
  const { method, target, version, headers } = read;
  const pairs = Array.from({ length: headers.length / 2 }, (_, i) => ({
    name: headers[2 * i] ?? '',
    value: headers[2 * i + 1] ?? '',
  }));
  const all = (name: string) => pairs.filter((pair) => pair.name.toLowerCase() === name).map((p) => p.value);
  const linesOf = (isWanted: RegExp) =>
    pairs.filter(({ name }) => isWanted.test(name)).map(({ name, value }) => `${name}: ${value}\r\n`);
  const options = all('connection').flatMap(tokensOf);
  const expectations = version === '1.1' ? all('expect').map((value) => value.toLowerCase()) : [];
  const framing = framingOf(all('content-length'), all('transfer-encoding'), version);
  return {
    method,
    target,
    version,
    passing: passingHeaders(headers).filter((_, i, flat) => !TOLD.test(flat[i - (i % 2)] ?? '')),
    lineCount: pairs.length,
    hosts: [all('host').length, all('host').at(-1) ?? ''],
    ...framing,
    closes: options.includes('close') || all('proxy-connection').flatMap(tokensOf).includes('close'),
    keepsAlive: options.includes('keep-alive'),
    namesFraming: options.some((name) => ['content-length', 'transfer-encoding', 'host'].includes(name)),
    expects: [expectations.includes('100-continue'), expectations.some((value) => value !== '100-continue')],
    wants: [
      all('upgrade').length > 0,
      all('te').some((value) => /(?:^|,)[ \t]*trailers[ \t]*(?:[,;]|$)/i.test(value)),
    ],
    forwarded: [
      all('x-forwarded-for').reduce((joined, value) => (joined === '' ? value : `${joined}, ${value}`), ''),
      all('x-forwarded-proto').find((value) => value !== '') ?? '',
      all('x-forwarded-host').find((value) => value !== '') ?? '',
      linesOf(/^(?:forwarded|x-forwarded-(?!(?:for|proto|host)$)[^_]*)$/i).join(''),
    ],
    traced: [
      all('x-request-id').find((value) => REQUEST_ID.test(value)) ?? '',
      all('traceparent').length,
      all('traceparent').at(-1) ?? '',
      all('tracestate')
        .map((value) => `tracestate: ${value}\r\n`)
        .join(''),
    ],
    userAgent: all('user-agent').at(-1) ?? null,
  };
}

function framingOf(
  lengths: readonly string[],
  codings: readonly string[],
  version: string,
): { hasBadFraming: boolean; bodyLength: number } {
  const bad = { hasBadFraming: true, bodyLength: NO_BODY };
  const [length, coding] = [lengths[0], codings[0]];
  if (lengths.length + codings.length > 1) return bad;
  if (coding !== undefined) {
    const isKnown = coding.toLowerCase() === 'chunked' && version === '1.1';
    return isKnown ? { hasBadFraming: false, bodyLength: CHUNKED_BODY } : bad;
  }
  if (length === undefined) return { hasBadFraming: false, bodyLength: NO_BODY };
  if (!/^[0-9]+$/.test(length) || BigInt(length) >= 2n ** 53n) return bad;
  return { hasBadFraming: false, bodyLength: Number(BigInt(length)) };
}

/** isLast tells whether the answer to a completely read request ends the connection. */
export function isLast({ closes, keepsAlive, version, wants }: RequestFacts): boolean {
  return closes || wants[0] || (version === '1.0' && !keepsAlive);
}
