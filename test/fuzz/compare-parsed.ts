/** Compares how our connection reads bytes with node's server (llhttp), and with itself when the bytes are split differently. */
import { NO_BODY } from '../../src/contract/request-head.ts';
import { partRefusalOf, refusalOf } from './decided-requests.ts';
import type { OwnRead, OwnRequest } from './fed-connection.ts';
import { passingTrailers } from './passing-fields.ts';
import { factsOfRead, isLast } from './request-facts.ts';
import type { ReadRequest } from './request-reader.ts';

export interface Comparison {
  classes: string[];
  failures: string[];
}

/** Up to this much of a discarded body is read to keep the connection open (client-body.ts). */
const DISCARD_MAX_BYTES = 65_536;
const TOO_LARGE: readonly number[] = [414, 431];

/** compareParsed checks that we refuse what llhttp refuses, that a named rule covers our other refusals, and that the rest is read alike. */
export function compareParsed(own: OwnRead, read: readonly ReadRequest[], text: string): Comparison {
  const classes: string[] = [];
  const failures = own.faults.map((fault) => `fault: ${fault}`);
  for (let i = 0; ; i++) {
    const [ours, theirs] = [own.requests[i], read[i]];
    if (ours === undefined) {
      if (theirs !== undefined) compareRefused(theirs, text, { classes, failures });
      else if (own.refusal !== 0) classes.push(`both refuse: ${own.refusal}`);
      break;
    }
    if (theirs === undefined) {
      if (ours.status === 0) failures.push(`we read what llhttp refuses: ${JSON.stringify(ours)}`);
      else classes.push(`llhttp refuses what the proxy refuses: ${ours.status}`);
      break;
    }
    const isLastOfOurs = own.requests.length === i + 1;
    const isOver = compareRead({ ours, theirs, isLastOfOurs, text }, { classes, failures });
    if (failures.length > 0) break;
    if (!isOver) continue;
    if (!isLastOfOurs) failures.push('we read on after the last request');
    if (read.length > i + 1) classes.push('not read: after our last answer');
    break;
  }
  return { classes, failures };
}

function compareRefused(theirs: ReadRequest, text: string, { classes, failures }: Comparison): void {
  const refusal = partRefusalOf('head', theirs, text);
  if (refusal === null) failures.push(`we refuse what llhttp reads: ${JSON.stringify(theirs)}`);
  else classes.push(`refused: ${refusal}`);
}

interface Pair {
  ours: OwnRequest;
  theirs: ReadRequest;
  isLastOfOurs: boolean;
  text: string;
}

/** @returns whether the connection ends here */
function compareRead({ ours, theirs, isLastOfOurs, text }: Pair, { classes, failures }: Comparison): boolean {
  const { facts, status, body, complete } = ours;
  const [expected, found] = [JSON.stringify(factsOfRead(theirs)), JSON.stringify(facts)];
  if (expected !== found) failures.push(`another head: llhttp ${expected}\n  us ${found}`);
  const refusal = refusalOf(theirs, '');
  if ((refusal === null) !== (status === 0))
    failures.push(`refused with ${status}, by rule: ${refusal}, ${JSON.stringify(ours)}`);
  classes.push(status === 0 ? 'read as the same' : `read alike, then refused: ${refusal}`);
  if (facts.hasBadFraming) return true;
  const bodyRefusal = partRefusalOf('body', theirs, text);
  if (body === null) {
    classes.push('answered without its body');
    const isUnmet = facts.expects[0] && facts.bodyLength !== NO_BODY && facts.bodyLength !== 0;
    const isLong = facts.bodyLength > DISCARD_MAX_BYTES;
    compareEnds(ours, isLast(facts) || isUnmet || isLong, failures);
    return ours.closing || !theirs.complete || (bodyRefusal !== null && isLastOfOurs);
  }
  if (!complete && bodyRefusal !== null) {
    classes.push(`body refused: ${bodyRefusal}`);
    return true;
  }
  if (complete !== theirs.complete)
    failures.push(`${complete ? 'llhttp' : 'we'} did not find the end: ${JSON.stringify([ours, theirs])}`);
  else if (!complete) {
    classes.push(ours.invalid === 0 ? 'body without its end' : `both refuse the body: ${ours.invalid}`);
    if (!isBeginning(body, theirs.body)) failures.push(`another part: ${JSON.stringify([ours, theirs])}`);
    return true;
  }
  const trailers = JSON.stringify([passingTrailers(theirs.trailers), ours.trailers]);
  if (body !== theirs.body) failures.push(`another body: ${JSON.stringify([ours, theirs])}`);
  else if (JSON.stringify([ours.trailers, ours.trailers]) !== trailers)
    failures.push(`other trailers: ${trailers}`);
  compareEnds(ours, isLast(facts), failures);
  return ours.closing;
}

function compareEnds({ closing, facts }: OwnRequest, isExpected: boolean, failures: string[]): void {
  if (closing === isExpected) return;
  failures.push(`the connection ${closing ? 'ends' : 'goes on'}: ${JSON.stringify(facts)}`);
}

/** Of a malformed body, at most the part before the fault may have arrived. */
function isBeginning(one: string, other: string): boolean {
  return one.startsWith(other) || other.startsWith(one);
}

/** differenceOfCuts is null if two ways to split the same bytes gave the same result. */
export function differenceOfCuts(whole: OwnRead, cut: OwnRead): string | null {
  if (cut.faults.length > 0) return cut.faults.join(', ');
  if (cut.requests.length !== whole.requests.length)
    return `${whole.requests.length} requests, ${cut.requests.length}`;
  for (const [i, one] of whole.requests.entries()) {
    const other = cut.requests[i];
    if (other === undefined) return 'no request';
    const isSame = JSON.stringify(withoutPart(one)) === JSON.stringify(withoutPart(other));
    const isPart = one.complete || isBeginning(one.body ?? '', other.body ?? '');
    if (!isSame || !isPart) return JSON.stringify([one, other]);
  }
  // Something too large is refused as soon as too much has arrived, in pieces before any other fault in it is seen.
  const isTooLarge = TOO_LARGE.includes(whole.refusal) || TOO_LARGE.includes(cut.refusal);
  const isSame = whole.refusal === cut.refusal || (isTooLarge && whole.refusal > 0 && cut.refusal > 0);
  return isSame ? null : `refused with ${whole.refusal}, ${cut.refusal}`;
}

function withoutPart(request: OwnRequest): OwnRequest {
  return request.complete || request.body === null ? request : { ...request, body: '' };
}
