/** Checks that a backend got exactly the requests that node's server reads in the client's bytes, in canonical form. */
import type { CanonicalRequest } from './canonical.ts';
import { endsConnection, refusalOf, valuesOf } from './decided-requests.ts';
import { passingHeaders, passingTrailers } from './passing-fields.ts';
import type { ReadRequest } from './request-reader.ts';

export interface Seen {
  /** Complete requests in the order of arrival. */
  requests: CanonicalRequest[];
  /** Incomplete requests on connections that were cut. */
  partial: CanonicalRequest[];
  faults: string[];
}

/** Fields that Sluice sets, whatever the client sent. */
const OURS =
  /^(?:host|content-length|transfer-encoding|x-forwarded-.*|x-real-ip|x-request-id|traceparent|tracestate|te)$/i;
/** Fields that are dropped or replaced when the client is no trusted proxy. */
const DROPPED = /_|^(?:host|expect|forwarded|x-forwarded-.*|x-real-ip|x-request-id|traceparent|tracestate)$/i;

/** compareRequests returns the class of each request that node's server read, and the failures. @param text the whole pipeline, latin1 */
export function compareRequests(
  read: readonly ReadRequest[],
  seen: Seen,
  text: string,
): { classes: string[]; failures: string[] } {
  const classes: string[] = [];
  const failures = seen.faults.map((fault) => `the backend was sent something else: ${fault}`);
  let at = 0;
  let over = '';
  for (const request of read) {
    const forwarded = seen.requests[at];
    if (forwarded !== undefined && request.complete && differenceOf(request, forwarded) === null) {
      if (over !== '') failures.push(`forwarded ${over}: ${request.method} ${request.target}`);
      const refusal = refusalOf(request, '');
      if (refusal !== null) failures.push(`forwarded although refused by rule: ${refusal}`);
      classes.push('forwarded as one canonical request');
      at++;
      if (endsConnection(request)) over = 'after the last request of its connection';
      continue;
    }
    const refusal = refusalOf(request, text);
    if (over !== '') classes.push(`not forwarded: ${over}`);
    else if (refusal !== null) classes.push(`not forwarded: ${refusal}`);
    else if (!request.complete) classes.push('not forwarded: body without its end');
    else
      failures.push(
        `not forwarded, or otherwise: ${forwarded === undefined ? 'nothing came' : differenceOf(request, forwarded)}`,
      );
    over ||= 'after a refused request';
  }
  if (at < seen.requests.length)
    failures.push(`the backend saw ${seen.requests.length - at} requests that nobody sent`);
  if (seen.partial.length > 1) failures.push(`${seen.partial.length} requests were cut`);
  for (const cut of seen.partial) {
    if (!read.some((request) => isBeginningOf(cut, request)))
      failures.push(`the beginning of something else: ${JSON.stringify(cut)}`);
  }
  return { classes, failures };
}

/** null if the backend's request matches the client's. */
function differenceOf(read: ReadRequest, seen: CanonicalRequest): string | null {
  const head = headDifferenceOf(read, seen);
  if (head !== null) return head;
  if (seen.body !== read.body) return `body ${JSON.stringify([read.body, seen.body])}`;
  const trailers = passingTrailers(read.trailers);
  const isChunked = valuesOf(read, 'transfer-encoding').length > 0;
  return differs('trailers', isChunked ? trailers : [], seen.trailers.flat());
}

function headDifferenceOf(read: ReadRequest, seen: CanonicalRequest): string | null {
  if (seen.method !== read.method) return `method ${read.method} ${seen.method}`;
  const target = originForm(read);
  if (seen.target !== target) return `target ${target} ${seen.target}`;
  const host = valuesOf(read, 'host')[0];
  if (host !== undefined && seen.headers[0]?.[1] !== host) return `host ${host} ${seen.headers[0]?.[1]}`;
  const expected = passingHeaders(read.headers).filter((_, i, all) => !DROPPED.test(all[i - (i % 2)] ?? ''));
  expected.push('Via', '1.1 sluice');
  const passed = seen.headers.filter(([name]) => !OURS.test(name));
  const framed = seen.headers.some(([name]) => /^(?:content-length|transfer-encoding)$/i.test(name));
  const wantsFraming =
    valuesOf(read, 'content-length').length + valuesOf(read, 'transfer-encoding').length > 0;
  if (wantsFraming && !framed) return 'framing was lost';
  return differs('fields', expected, passed.flat());
}

function originForm({ target, method }: ReadRequest): string {
  const found = /^https?:\/\/[^/?]*(.*)$/i.exec(target);
  if (found === null) return target;
  const rest = found[1] ?? '';
  if (rest === '') return method === 'OPTIONS' ? '*' : '/';
  return rest.startsWith('/') ? rest : `/${rest}`;
}

function differs(what: string, expected: readonly string[], found: readonly string[]): string | null {
  const [one, other] = [JSON.stringify(expected), JSON.stringify(found)];
  return one === other ? null : `${what} ${one} ${other}`;
}

function isBeginningOf(cut: CanonicalRequest, whole: ReadRequest): boolean {
  return headDifferenceOf(whole, cut) === null && whole.body.startsWith(cut.body);
}
