/** What the frames that are made must know of those before. */
import type { Random } from './random.ts';

/** What was sent so far. */
export interface FrameState {
  random: Random;
  /** Frames of a server, for the streams that its client has opened. */
  isAnswering: boolean;
  nextId: number;
  ids: number[];
  /** Whose end was not sent. */
  open: Set<number>;
  /** Of a server: whose final head was not sent. */
  unanswered: Set<number>;
  /** The next frames may be wrong in any way. */
  isWild: boolean;
  hasAcked: boolean;
}

/** streamOf is a stream that is open; of a wild frame also one that was, was skipped, or never can be. */
export function streamOf(state: FrameState): number {
  const { random, ids, nextId, open } = state;
  if (!state.isWild) {
    const fit = [...open].filter((id) => !(state.isAnswering && state.unanswered.has(id)));
    return fit.length === 0 ? 0 : random.pick(fit);
  }
  if (ids.length > 0 && !random.oneIn(3)) return random.pick(ids);
  return Math.max(0, random.pick([0, 1, 2, 3, 4, nextId, nextId + 1, nextId - 1, nextId - 2, 2 ** 31 - 1]));
}

/** zero is stream 0, where the frame is not wild. */
export function zero(state: FrameState): number {
  return state.isWild && state.random.oneIn(2) ? streamOf(state) : 0;
}

/** sized gives the payload its right size, where the frame is not wild. */
export function sized({ random, isWild }: FrameState, payload: Buffer): Buffer {
  return isWild && random.oneIn(2)
    ? Buffer.concat([payload, payload]).subarray(0, random.below(2 * payload.length))
    : payload;
}
