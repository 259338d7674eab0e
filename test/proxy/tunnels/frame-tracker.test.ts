/** The tracker of frames against a second, simple parser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FrameTracker } from '../../../src/proxy/tunnel/frame-tracker.ts';

interface Frame {
  opcode: number;
  masked: boolean;
  size: number;
  /** Bytes of the length field; more than needed is malformed for a peer, but not for a tracker. */
  field: 0 | 2 | 8;
}

function bytesOf({ opcode, masked, size, field }: Frame): Buffer {
  const mask = masked ? 0x80 : 0;
  const head = field === 0 ? [mask | size] : field === 2 ? [mask | 126, size >> 8, size & 255] : [mask | 127];
  const length = Buffer.alloc(field === 8 ? 8 : 0);
  if (field === 8) length.writeBigUInt64BE(BigInt(size));
  // Payload that looks like the heads of close frames.
  return Buffer.concat([Buffer.from([opcode, ...head]), length, Buffer.alloc(size + (masked ? 4 : 0), 0x88)]);
}

const frame = fc
  .record({
    opcode: fc.constantFrom(0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0xc1, 0x89, 0x8a),
    masked: fc.boolean(),
    size: fc.oneof(fc.constantFrom(0, 1, 125, 126, 127, 65_535), fc.integer({ min: 0, max: 2_000 })),
    field: fc.constantFrom<Frame['field']>(0, 2, 8),
  })
  .map((made): Frame => (made.field === 0 ? { ...made, size: made.size % 126 } : made));

const stream = fc.record({
  frames: fc.array(frame, { minLength: 1, maxLength: 12 }),
  cuts: fc.array(fc.nat({ max: 20_000 }), { maxLength: 40 }),
});

test('the tracker knows every end of a frame, however the bytes are cut', () => {
  fc.assert(
    fc.property(stream, ({ frames, cuts }) => {
      const pieces = frames.map(bytesOf);
      const bytes = Buffer.concat(pieces);
      const ends = new Set<number>();
      let total = 0;
      for (const piece of pieces) {
        total += piece.length;
        ends.add(total);
      }
      const tracker = new FrameTracker();
      let at = 0;
      for (const cut of [...cuts.map((cut) => cut % bytes.length).sort((a, b) => a - b), bytes.length]) {
        assert.equal(tracker.pass(bytes, at, cut), cut);
        at = cut;
        assert.equal(tracker.isBetweenFrames, at === 0 || ends.has(at), `after ${at} bytes`);
      }
      assert.equal(tracker.hasClosed, false);
    }),
    { numRuns: 2_000 },
  );
});

test('asked to stop, it stops behind the first frame that ends', () => {
  fc.assert(
    fc.property(stream, ({ frames, cuts }) => {
      const pieces = frames.map(bytesOf);
      const bytes = Buffer.concat(pieces);
      const from = (cuts[0] ?? 0) % bytes.length;
      let end = 0;
      for (const piece of pieces) {
        end += piece.length;
        if (end > from) break;
      }
      const tracker = new FrameTracker();
      tracker.pass(bytes, 0, from);
      for (let at = from; at < end; ) {
        const to = Math.min(bytes.length, at + 1 + ((cuts[1] ?? 0) % 5_000));
        const stoppedAt = tracker.pass(bytes, at, to, true);
        assert.equal(stoppedAt, Math.min(end, to));
        at = stoppedAt;
      }
      assert.ok(tracker.isBetweenFrames);
    }),
    { numRuns: 2_000 },
  );
});

test('it sees a close frame from its first byte on, and a frame of 2^63 bytes never ends', () => {
  const tracker = new FrameTracker();
  tracker.pass(Buffer.from([0x88]), 0, 1);
  assert.deepEqual([tracker.hasClosed, tracker.isBetweenFrames], [true, false]);
  const endless = new FrameTracker();
  endless.pass(Buffer.from([0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0]), 0, 10);
  const bytes = Buffer.alloc(65_536);
  for (let i = 0; i < 100; i++) endless.pass(bytes, 0, bytes.length);
  assert.deepEqual([endless.isBetweenFrames, endless.hasClosed], [false, false]);
});
