/** Compares what a client got with what the backend sent: node's client and undici must read both alike. */
import { type Outcome, parseSegments } from '../upstream/parse-segments.ts';
import type { CaseResult } from './campaign.ts';
import { passingTrailers } from './passing-fields.ts';
import type { Exchange } from './proxy-lane.ts';
import { type Random, segmentsOf } from './random.ts';
import { memoryLine, type Reading, readAs } from './response-readers.ts';

export interface Relayed {
  /** What the backend sent. */
  sent: string;
  method: string;
  /** Of the client. */
  version: string;
  exchange: Exchange;
}

/** Our own answers in place of backend answers that cannot be forwarded. */
const OWN_STATUSES = [502, 503, 504];

/** compareRelayed judges one answer. */
export async function compareRelayed(
  { sent, method, version, exchange }: Relayed,
  random: Random,
): Promise<CaseResult> {
  const ours = parseSegments([Buffer.from(sent, 'latin1')], method, true);
  const segments = segmentsOf(random, exchange.received);
  const [node, undici] = await Promise.all([
    readAs('node', memoryLine(segments), method),
    readAs('undici', memoryLine(segments), method),
  ]);
  const failures: string[] = [];
  if (exchange.stuck !== '') failures.push(exchange.stuck);
  failures.push(...exchange.faults);
  if (!isSame(node, undici)) failures.push('readers differ in what we wrote');
  const isOwn = node.accepted && isOwnAnswer(node);
  const name = isOwn ? 'answered by ourselves' : node.accepted && !exchange.reset ? 'relayed' : 'cut';
  if (ours.complete && isOwn) failures.push('a sound answer was not passed on');
  else if (ours.complete) failures.push(...differencesOf(ours, node, version));
  else if (!isOwn && !isVisiblyCut(node, exchange))
    failures.push('a broken answer looks whole to the client');
  const context =
    failures.length === 0
      ? []
      : [
          JSON.stringify({
            sent,
            method,
            version,
            ours,
            node,
            undici,
            received: exchange.received,
            reset: exchange.reset,
          }),
        ];
  return {
    classes: [`response ${name}`],
    failures: [...failures, ...context],
  };
}

function isOwnAnswer({ status, headers }: Reading): boolean {
  const type = headers[headers.indexOf('Content-Type') + 1];
  return OWN_STATUSES.includes(status ?? 0) && type === 'application/problem+json';
}

/** A response that breaks off must not look complete: it has no end, or a RST if only the end of the connection marks it. */
function isVisiblyCut(node: Reading, { reset }: Exchange): boolean {
  return !node.accepted || reset;
}

function isSame(node: Reading, undici: Reading): boolean {
  return (
    node.accepted === undici.accepted &&
    (!node.accepted ||
      (node.status === undici.status &&
        node.body === undici.body &&
        node.interims.join() === undici.interims.join() &&
        node.headers.join('\n') === undici.headers.join('\n') &&
        node.trailers.join('\n') === undici.trailers.join('\n')))
  );
}

function differencesOf(ours: Outcome, node: Reading, version: string): string[] {
  if (!node.accepted) return ['a sound answer cannot be read'];
  const failures: string[] = [];
  if (ours.status !== node.status) failures.push(`status ${ours.status} became ${node.status}`);
  if (ours.body !== node.body) failures.push('body was changed');
  // The proxy itself sends 100 Continue, and HTTP/1.0 has no interim answers.
  const interims = version === '1.1' ? ours.interims.filter((status) => status !== 100).join() : '';
  if (node.interims.join() !== interims) failures.push(`interims ${ours.interims} became ${node.interims}`);
  const wanted = ours.headers.filter((_, i) => ours.headers[i - (i % 2)]?.toLowerCase() !== 'x-request-id');
  if (node.headers.slice(0, wanted.length).join('\n') !== wanted.join('\n'))
    failures.push('fields were changed');
  const count = (name: string) =>
    node.headers.filter((text, i) => i % 2 === 0 && text.toLowerCase() === name).length;
  if (count('content-length') + count('transfer-encoding') > 1) failures.push('framed twice');
  if (count('x-request-id') !== 1) failures.push('not one X-Request-Id');
  const isChunked = count('transfer-encoding') === 1;
  if (isChunked && node.trailers.join('\n') !== passingTrailers(ours.trailers).join('\n'))
    failures.push('trailers were changed');
  return failures;
}
