/** Makes frames that are no part of a message: valid, and wrong where the state is wild. */
import { block, FLAGS, frame, number32, request, settings, TYPES } from '../support/h2-frames.ts';
import { type FrameState, sized, streamOf, zero } from './frame-state.ts';

/** controlFrame makes a frame that is no part of a message. */
export function controlFrame(state: FrameState): Buffer {
  switch (state.random.below(6)) {
    case 0:
      return resetFrame(state);
    case 1:
      return windowFrame(state);
    case 2:
      return settingsFrame(state);
    case 3:
      return pingFrame(state);
    case 4:
      return priorityFrame(state);
    default:
      return rareFrame(state);
  }
}

function resetFrame(state: FrameState): Buffer {
  const stream = streamOf(state);
  state.open.delete(stream);
  if (stream === 0 && !state.isWild) return pingFrame(state);
  return frame(TYPES.reset, 0, stream, sized(state, number32(state.random.below(14))));
}

function pingFrame(state: FrameState): Buffer {
  const flags = state.isWild && state.random.oneIn(5) ? FLAGS.ack : 0;
  return frame(TYPES.ping, flags, zero(state), sized(state, Buffer.alloc(8, 'p')));
}

function priorityFrame(state: FrameState): Buffer {
  const { random } = state;
  const stream = streamOf(state) || (state.isWild ? 0 : 1);
  return frame(TYPES.priority, random.below(256), stream, sized(state, Buffer.alloc(5, random.below(9))));
}

function windowFrame(state: FrameState): Buffer {
  const { random, isWild } = state;
  const increments = isWild
    ? [0, 2 ** 31 - 1, 2 ** 31 - 65_536, 2 ** 31, 2 ** 31 + 5, 2 ** 31 - 65_535]
    : [1, 65_535];
  const stream = random.oneIn(2) ? 0 : streamOf(state);
  return frame(TYPES.window, random.below(4), stream, sized(state, number32(random.pick(increments))));
}

function rareFrame(state: FrameState): Buffer {
  const { random, isWild } = state;
  if (!isWild || random.oneIn(4))
    return frame(17 + random.below(230), random.below(256), streamOf(state), Buffer.alloc(random.below(20)));
  switch (random.below(3)) {
    case 0:
      return frame(TYPES.goaway, 0, 1, number32(0, 0));
    case 1:
      return frame(
        TYPES.push,
        FLAGS.endHeaders,
        streamOf(state),
        Buffer.concat([number32(2), block(request())]),
      );
    default:
      return frame(TYPES.continuation, FLAGS.endHeaders, streamOf(state), block([['a', 'b']]));
  }
}

const GOOD_SETTINGS: [number, number][] = [
  [1, 0],
  [1, 4096],
  [1, 2 ** 32 - 1],
  [2, 0],
  [2, 1],
  [3, 0],
  [4, 0],
  [4, 65_535],
  [4, 1_000_000],
  [5, 16_384],
  [5, 16_777_215],
  [6, 1],
  [8, 1],
  [0x99, 7],
];
const IDS = [1, 2, 3, 4, 5, 6, 8, 0x99];
const VALUES = [
  0,
  1,
  2,
  100,
  4096,
  16_383,
  16_384,
  16_777_215,
  16_777_216,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
];

function settingsFrame(state: FrameState): Buffer {
  const { random, isWild } = state;
  if (!state.hasAcked && random.oneIn(2)) {
    state.hasAcked = true;
    return frame(TYPES.settings, FLAGS.ack, 0, Buffer.alloc(isWild && random.oneIn(3) ? 6 : 0));
  }
  // A server may not allow itself to push.
  const good = state.isAnswering ? GOOD_SETTINGS.filter(([id]) => id !== 2) : GOOD_SETTINGS;
  const entries = Array.from({ length: random.below(4) }, (): [number, number] =>
    isWild ? [random.pick(IDS), random.pick(VALUES)] : random.pick(good),
  );
  const made = settings(...entries);
  if (isWild && random.oneIn(5)) made[8] = 1;
  return isWild && random.oneIn(5) ? frame(TYPES.settings, 0, 0, Buffer.alloc(random.below(8))) : made;
}
