/** Compares what our session and nghttp2 make of the same frames. */
import { requestProblem, responseProblem, trailerProblem } from '../../src/http2/field-rules.ts';
import { CODE } from '../../src/http2/frames.ts';
import type { CaseResult } from './campaign.ts';
import type { OurOutcome, Outcome, Seen } from './frame-outcome.ts';

/** A difference that stays: what ours says, what nghttp2 says ('' where a side has nothing against it), and why. */
type Decided = [name: string, ours: RegExp, theirs: RegExp];

const DECIDED: Decided[] = [
  // We refuse.
  ['PRIORITY on stream 0 or of a wrong size (RFC 9113 §6.3)', /PRIORITY/, /^$/],
  ['DATA of a closed stream with bad padding (§6.1)', /^1 more padding|DATA without its padding/, /^$/],
  [
    'DATA or HEADERS behind the end of a stream that both have ended (§5.1)',
    /after the end of a stream/,
    /^$/,
  ],
  ['a setting that is valid only at its second place (§6.5.2)', /^[13] (bad|too large an initial)/, /^$/],
  ['WINDOW_UPDATE by 0 for a closed stream (§6.9)', /^1 WINDOW_UPDATE by 0/, /^$/],
  [
    'PUSH_PROMISE before our SETTINGS are acknowledged: requests come behind these (§6.6)',
    /PUSH_PROMISE/,
    /^$/,
  ],
  // nghttp2 refuses.
  ['a stream that depends on itself: priorities are obsolete (§5.3.2)', /^$/, /depend on itself/],
  ['a stream window too large resets the stream only (§6.9.1)', /^$/, /WINDOW_UPDATE: window size overflow/],
  ['frames behind the end of a stream that we have reset are ignored (§5.1)', /^$/, /^5 /],
  ['SETTINGS ACK that was not asked for', /^$/, /SETTINGS: unexpected ACK/],
  ['a setting of RFC 9218, which we do not know (§6.5.2)', /^$/, /NO_RFC7540_PRIORITIES/],
  ['last stream of a client’s GOAWAY: we open no streams', /^$/, /GOAWAY: invalid last_stream_id/],
];

/** The same, for what servers send. */
const DECIDED_OF_ANSWERS: Decided[] = [
  ...DECIDED,
  ['DATA before the head of an answer resets the stream only (§8.1.1)', /^$/, /^2 $|DATA: stream not opened/],
];

/** compareFrames returns the class of a case, and what nobody has decided. */
export function compareFrames(ours: OurOutcome, theirs: Outcome, isAnswering: boolean): CaseResult {
  if (ours.error !== '' && theirs.error !== '') return { classes: ['both refuse'], failures: [] };
  // GOAWAY of a client: node closes when no stream is open. Here that is for the host to decide.
  if (ours.error === '' && theirs.error === 'closed' && ours.log.includes('goaway'))
    return { classes: ['the client says good-bye'], failures: [] };
  if (ours.error !== theirs.error) {
    const decided = (isAnswering ? DECIDED_OF_ANSWERS : DECIDED).find(
      ([, our, their]) => our.test(ours.error) && their.test(theirs.error),
    );
    if (decided !== undefined) return { classes: [decided[0]], failures: [] };
    return { classes: [], failures: [`refused by one: ours [${ours.error}], nghttp2 [${theirs.error}]`] };
  }
  const { failures, classes } = differencesOf(ours, theirs);
  if (failures.length + classes.length === 0) classes.push('read as the same');
  return { classes, failures };
}

function differencesOf(ours: Outcome, theirs: Outcome): CaseResult {
  const failures: string[] = [];
  const classes = new Set<string>();
  for (const id of new Set([...theirs.seen.keys(), ...ours.seen.keys(), ...ours.resets.keys()])) {
    const [our, their] = [ours.seen.get(id), theirs.seen.get(id)];
    const [ourReset, theirReset] = [ours.resets.get(id), theirs.resets.get(id)];
    const decided = decidedFields(our, their, ourReset);
    if (decided !== '') {
      classes.add(decided);
      continue;
    }
    if (ourReset !== theirReset) failures.push(`reset of ${id}: ours ${ourReset}, nghttp2 ${theirReset}`);
    if (our !== undefined && their !== undefined) failures.push(...seenOtherwise(id, our, their));
    else if (our !== their) failures.push(`stream ${id}, only ${our === undefined ? 'nghttp2' : 'ours'}`);
  }
  return { failures, classes: [...classes] };
}

function decidedFields(our: Seen | undefined, their: Seen | undefined, ourReset: number | undefined): string {
  if (ourReset === CODE.PROTOCOL_ERROR && their !== undefined && isFine(their))
    return 'a field of bad bytes: nghttp2 leaves it out, we reset the stream (§8.2.1)';
  if (ourReset === CODE.FLOW_CONTROL_ERROR)
    return 'a stream window too large resets the stream only (§6.9.1)';
  if (their?.trailers === null && our?.trailers?.includes('content-length'))
    return 'a content-length among trailers says nothing to us; it never passes on';
  return '';
}

/** Whether we have nothing against the fields that nghttp2 has left. */
function isFine({ fields, trailers, ended }: Seen): boolean {
  if (trailers !== null && trailerProblem(trailers) !== null) return false;
  if (fields[0] !== ':status') return requestProblem(fields, ended) === null;
  for (let at = 0; at < fields.length; ) {
    const next = fields.indexOf(':status', at + 1);
    const end = next < 0 ? fields.length : next;
    if (responseProblem(fields.slice(at, end)) !== null) return false;
    at = end;
  }
  return true;
}

function seenOtherwise(id: number, our: Seen, their: Seen): string[] {
  const failures: string[] = [];
  for (const key of ['fields', 'body', 'trailers', 'ended'] as const) {
    // nghttp2 ends a stream that the client has reset.
    if (key === 'ended' && our.wasReset) continue;
    const [one, other] = [JSON.stringify(our[key]), JSON.stringify(their[key])];
    if (one !== other) failures.push(`${key} of ${id}: ours ${one}, nghttp2 ${other}`);
  }
  return failures;
}

/** differenceOfReads compares the same frames read in other pieces. */
export function differenceOfReads(how: string, whole: OurOutcome, other: OurOutcome): string[] {
  const [first, second] = [whole, other].map(({ error, seen, resets, log }) =>
    JSON.stringify({ error, seen: [...seen], resets: [...resets], log }),
  );
  return first === second ? [] : [`otherwise ${how}: ${first} / ${second}`];
}
