/** Makes sequences of frames: valid, slightly wrong and wrong. */
import {
  block,
  type Fields,
  FLAGS,
  frame,
  number32,
  PREFACE,
  settings,
  TYPES,
} from '../support/h2-frames.ts';
import { PROBE } from './frame-outcome.ts';
import { type FrameState, streamOf } from './frame-state.ts';
import { controlFrame } from './generate-control-frames.ts';
import { someAnswer, someRequest, someTrailers } from './generate-fields.ts';
import type { Random } from './random.ts';

export interface FrameCase {
  /** Each ends with a PING. */
  parts: Buffer[];
  /** Names of the frames, for the report. */
  shown: string[];
}

/** So many of these frames follow changed bytes, so that a frame with a wrong length ends. */
const FILLER = Buffer.concat(Array.from({ length: 1_900 }, () => frame(0xfa, 0, 0)));

/** Of the client that is answered; see answer-lane.ts. */
export const OPENED = [1, 3, 5];

/** frameCase makes the bytes of one connection: from a client, or from a server to a client that has opened streams. */
export function frameCase(random: Random, isAnswering: boolean): FrameCase {
  const ids = isAnswering ? OPENED : [];
  const state: FrameState = {
    random,
    isAnswering,
    nextId: isAnswering ? 7 : 1,
    ids: [...ids],
    open: new Set(ids),
    unanswered: new Set(ids),
    isWild: false,
    hasAcked: false,
  };
  const parts: Buffer[] = [];
  const shown: string[] = [];
  const partCount = 1 + random.below(3);
  for (let part = 0; part < partCount; part++) {
    const mayChange = part === partCount - 1;
    const frames: Buffer[] = part === 0 ? opening(state) : [];
    let hasChanged = false;
    for (let left = 1 + random.below(6); left > 0; left--) {
      state.isWild = random.oneIn(12);
      let made = someFrames(state);
      if (mayChange && random.oneIn(40)) {
        made = [mutated(random, Buffer.concat(made))];
        hasChanged = true;
      }
      frames.push(...made);
      shown.push(...made.map((each) => each.subarray(0, 80).toString('hex')));
    }
    shown.push('--');
    if (hasChanged) frames.push(FILLER);
    frames.push(frame(TYPES.ping, 0, 0, PROBE));
    parts.push(Buffer.concat(frames));
  }
  return { parts, shown };
}

function opening({ random, isAnswering }: FrameState): Buffer[] {
  const preface = isAnswering ? [] : [Buffer.from(PREFACE, 'latin1')];
  return random.oneIn(100) ? preface : [...preface, settings()];
}

function someFrames(state: FrameState): Buffer[] {
  const { random } = state;
  switch (random.below(15)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return newStream(state);
    case 4:
    case 5:
    case 6:
      return dataFrames(state);
    case 7:
    case 8:
      return headFrames(state, streamOf(state), someTrailers(state), !state.isWild || random.oneIn(2));
    default:
      return [controlFrame(state)];
  }
}

function newStream(state: FrameState): Buffer[] {
  const { random } = state;
  if (state.isAnswering) return answer(state);
  const id = state.nextId;
  state.nextId += random.oneIn(6) ? 4 : 2;
  state.ids.push(id);
  state.open.add(id);
  return headFrames(state, id, someRequest(state), random.oneIn(2));
}

function answer(state: FrameState): Buffer[] {
  const { random, unanswered, isWild } = state;
  if (unanswered.size === 0 && !isWild) return [];
  const id = isWild ? streamOf(state) : random.pick([...unanswered]);
  const isInterim = random.oneIn(4);
  if (!isInterim) unanswered.delete(id);
  const ends = isInterim ? isWild && random.oneIn(3) : random.oneIn(2);
  return headFrames(state, id, someAnswer(state, isInterim), ends);
}

/** A block in HEADERS and CONTINUATIONs, with flags that are mostly right. */
function headFrames(state: FrameState, stream: number, fields: Fields, ends: boolean): Buffer[] {
  const { random, isWild, open } = state;
  if (stream === 0 && !isWild) return [];
  let bytes = block(fields);
  // Fields of the static and the dynamic table, and what is none.
  if (isWild && random.oneIn(4))
    bytes = Buffer.concat([Buffer.from([random.pick([0x20, 0x3f, 0x80, 0xbe, 0xff])]), bytes]);
  if (random.oneIn(isWild ? 4 : 20))
    bytes = Buffer.concat([
      bytes,
      Buffer.from(
        random.pick([[0x90], [0x40, 1, 97, 1, 98], [0x40, 1, 97, 1, 98, 0xbe], isWild ? [0xbe] : []]),
      ),
    ]);
  if (isWild && random.oneIn(6)) bytes = bytes.subarray(0, random.below(bytes.length));
  let flags = ends ? FLAGS.endStream : 0;
  if (flags !== 0) open.delete(stream);
  const splits = random.oneIn(4) ? 1 + random.below(3) : 0;
  let at = splits === 0 ? bytes.length : random.below(bytes.length + 1);
  if (splits === 0) flags |= FLAGS.endHeaders;
  if (isWild && random.oneIn(10)) flags ^= FLAGS.endHeaders;
  const frames = [dressed(state, flags, stream, bytes.subarray(0, at))];
  for (let left = splits; left > 0; left--) {
    const to = left === 1 ? bytes.length : at + random.below(bytes.length - at + 1);
    const id = isWild && random.oneIn(10) ? stream + 2 : stream;
    const more = left === 1 ? FLAGS.endHeaders : random.oneIn(30) ? 1 : 0;
    frames.push(frame(TYPES.continuation, more, id, bytes.subarray(at, to)));
    at = to;
    if (isWild && random.oneIn(10)) frames.push(frame(TYPES.ping, 0, 0, Buffer.alloc(8)));
  }
  return frames;
}

/** A HEADERS frame, perhaps with padding and priority. */
function dressed({ random, isWild }: FrameState, flags: number, stream: number, bytes: Buffer): Buffer {
  const parts: Buffer[] = [bytes];
  let all = flags;
  if (random.oneIn(6)) {
    all |= FLAGS.priority;
    const parent = isWild ? random.pick([0, 1, 3, stream, 2 ** 31]) : 0;
    parts.unshift(Buffer.concat([number32(parent), Buffer.from([random.below(256)])]));
  }
  if (random.oneIn(6)) {
    all |= FLAGS.padded;
    const padBytes = random.below(20);
    parts.unshift(Buffer.from([isWild ? random.below(256) : padBytes]));
    parts.push(Buffer.alloc(padBytes));
  }
  return frame(TYPES.headers, all, stream, Buffer.concat(parts));
}

function dataFrames(state: FrameState): Buffer[] {
  const { random, isWild, open } = state;
  const stream = streamOf(state);
  // DATA before the head of an answer resets the stream; nghttp2 ends the connection, or lets it pass if it is empty.
  if ((stream === 0 && !isWild) || (state.isAnswering && state.unanswered.has(stream))) return [];
  const size = random.oneIn(15)
    ? random.pick([16_300, 16_384 - 40, isWild ? 16_385 : 9_000])
    : random.below(30) * random.below(10);
  let flags = random.oneIn(3) ? FLAGS.endStream : 0;
  if (flags !== 0) open.delete(stream);
  let payload = Buffer.from(`${random.text(4)}${'x'.repeat(size)}`.slice(0, size), 'latin1');
  if (random.oneIn(5)) {
    flags |= FLAGS.padded;
    const padBytes = random.below(30);
    payload = Buffer.concat([
      Buffer.from([isWild ? random.below(256) : padBytes]),
      payload,
      Buffer.alloc(padBytes),
    ]);
    if (isWild && random.oneIn(5)) payload = payload.subarray(0, 0);
  }
  const made = frame(TYPES.data, flags, stream, payload);
  return isWild && random.oneIn(5) ? [made, made, made, made, made] : [made];
}

/** Bytes of a frame, changed in one place: mostly in its head. */
function mutated(random: Random, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  if (copy.length === 0) return copy;
  const at = random.oneIn(3) ? random.below(copy.length) : 1 + random.below(8);
  copy[at]! ^= 1 << random.below(8);
  // nghttp2 knows ALTSVC, ORIGIN and PRIORITY_UPDATE.
  if (copy[3]! > TYPES.continuation) copy[3] = 0xfa;
  return copy;
}
