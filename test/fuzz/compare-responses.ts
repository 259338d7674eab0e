/** Compares how our parser, in random pieces, and the other readers read one response. Differences must be decided ones. */
import { type Outcome, parseSegments } from '../upstream/parse-segments.ts';
import { type Disagreement, decisionFor, type Kind } from './decided.ts';
import type { ResponseCase } from './generate-responses.ts';
import { passingHeaders, passingTrailers } from './passing-fields.ts';
import { type Random, segmentsOf } from './random.ts';
import { type Line, memoryLine, READERS, readAs } from './response-readers.ts';

/** The classes that the case belongs to. `undecided` are failures. */
export interface Verdict {
  classes: string[];
  undecided: string[];
}

/** compareResponse judges one case. It is called once per generated case, and many times while a failure is made smaller. */
export async function compareResponse(
  { text, method }: ResponseCase,
  random: Random,
  line: (segments: readonly Buffer[]) => Line = memoryLine,
): Promise<Verdict> {
  const whole = Buffer.from(text, 'latin1');
  const ours = parseSegments([whole], method, true);
  // Also splits the bytes right before and after the end that we found, to see when the others find it.
  const endBytes = ours.complete && ours.status !== null ? whole.length - ours.leftoverBytes : 0;
  const segments = segmentsOf(random, text, endBytes > 0 ? [endBytes - 1, endBytes] : []);
  const verdict: Verdict = { classes: [], undecided: [] };
  const split = parseSegments(segments, method, true);
  if (!sameOutcome(ours, split))
    verdict.undecided.push(`split: we read the pieces otherwise: ${JSON.stringify({ ours, split })}`);
  const readings = await Promise.all(READERS.map((reader) => readAs(reader, line(segments), method)));
  for (const [i, reader] of READERS.entries()) {
    const theirs = readings[i];
    if (theirs !== undefined) judge({ text, method, ours, theirs, reader, endBytes }, verdict);
  }
  return verdict;
}

function sameOutcome(one: Outcome, other: Outcome): boolean {
  if (one.complete !== other.complete) return false;
  // For a refused response, the moment may differ: how much was passed on before, and which fault was seen first.
  if (!one.complete) return true;
  return JSON.stringify(one) === JSON.stringify(other);
}

function judge(found: Disagreement, verdict: Verdict): void {
  const kinds = differencesOf(found);
  if (kinds.length === 0) {
    verdict.classes.push(`${found.reader}: both ${found.ours.complete ? 'accept' : 'refuse'}`);
    return;
  }
  for (const kind of kinds) {
    const decision = decisionFor(found, kind);
    if (decision !== null) verdict.classes.push(`${found.reader}: decided: ${kind}: ${decision}`);
    else {
      const { ours, theirs } = found;
      verdict.undecided.push(`${found.reader}: ${kind}: ${JSON.stringify({ ours, theirs })}`);
    }
  }
}

function differencesOf({ ours, theirs, endBytes }: Disagreement): Kind[] {
  if (!ours.complete) return theirs.accepted || theirs.upgraded ? ['we refuse'] : [];
  if (!theirs.accepted) return ['we accept'];
  const kinds: Kind[] = [];
  if (ours.status !== theirs.status) kinds.push('status');
  if (ours.body !== theirs.body) kinds.push('body');
  if (ours.interims.join() !== theirs.interims.join()) kinds.push('interims');
  if (!same(ours.headers, passingHeaders(theirs.headers))) kinds.push('headers');
  if (!same(ours.trailers, passingTrailers(theirs.trailers))) kinds.push('trailers');
  // Both must end at the same byte, or both by the FIN.
  if (theirs.endAtBytes !== 0 && endBytes !== 0 && theirs.endAtBytes !== endBytes) kinds.push('end');
  // If no more bytes came and the other reader would not reuse the connection, we must not either.
  if (ours.persistent && ours.leftoverBytes === 0 && theirs.reused === false) kinds.push('reuse');
  return kinds;
}

function same(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((text, i) => text === other[i]);
}
