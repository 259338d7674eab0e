/** The memory of a tunnel's sides, with wires that stop: every buffer is overwritten as soon as it is no longer the side's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FIRST_BUFFER_BYTES } from '../../../src/memory/body-buffers.ts';
import { TunnelSide } from '../../../src/proxy/tunnel/tunnel-side.ts';
import { bodyOf } from '../../support/pattern.ts';
import { PoisonedBuffers } from '../../support/poisoned-buffers.ts';
import { StuckWire } from '../../support/stuck-wire.ts';

/** Small buffers are handed out again at once, so that a wrong owner is seen. */
class Scene {
  readonly buffers = new PoisonedBuffers();
  readonly from = new StuckWire();
  readonly to = new StuckWire();
  readonly side: TunnelSide;
  sent = '';
  ownBytes = 0;

  constructor({ hasFrames = false } = {}) {
    const { buffers } = this;
    const owner = { buffers, onQuiet: () => undefined, onBroken: () => assert.fail('broken') };
    this.side = new TunnelSide(owner, { isClient: true, hasFrames });
    const other = new TunnelSide(owner, { isClient: false, hasFrames });
    this.side.wire = this.from;
    other.wire = this.to;
    this.side.other = other;
    other.other = this.side;
    this.to.onDrain = () => other.onDrain();
    this.from.onDrain = () => this.side.onDrain();
  }

  read(bytes: Buffer): void {
    const memory = this.side.nextBuffer();
    assert.ok(bytes.length <= memory.length);
    bytes.copy(memory);
    this.sent += bytes.toString('latin1');
    this.side.onRead(bytes.length);
    // As a wire does after each read; the memory that is given out now may be written to at any time.
    const next = this.side.nextBuffer();
    this.ownBytes = next === this.buffers.shared ? 0 : next.length;
    if (!this.from.paused) next.fill(0x21);
  }
}

const step = fc.record({
  size: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.constantFrom(16_384, 16_385, 32_767, 32_768, 65_536)),
  stops: fc.boolean(),
  drains: fc.boolean(),
});

test('every byte arrives once, in order, whatever the sizes and wherever the other side stops', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => {
      const scene = new Scene();
      for (const [i, { size, stops, drains }] of steps.entries()) {
        if (stops) scene.to.stuck = true;
        scene.read(bodyOf(i, size));
        // Over TLS a read that was under way comes after the pause.
        if (scene.from.paused) scene.read(bodyOf(i + 100, size));
        if (drains || scene.from.paused) scene.to.drain();
        assert.equal(scene.from.paused, false);
      }
      scene.to.drain();
      assert.ok(scene.to.text === scene.sent);
      scene.side.close();
    }),
    { numRuns: 500 },
  );
});

test('a quiet side holds no buffer: not after small reads, not after a small one behind large ones', () => {
  const scene = new Scene();
  for (let i = 0; i < 10; i++) scene.read(bodyOf(i, 1_024));
  assert.deepEqual([scene.ownBytes, scene.buffers.pooledCount], [0, 0]);
  scene.read(bodyOf(1, FIRST_BUFFER_BYTES));
  assert.equal(scene.ownBytes, FIRST_BUFFER_BYTES, 'large reads go into a buffer of its own');
  scene.read(bodyOf(2, 100));
  assert.deepEqual([scene.ownBytes, scene.buffers.pooledCount], [0, 1]);
});

test('a side whose peer has stopped is not read, and a buffer that is still being written is never given out', () => {
  const scene = new Scene();
  scene.to.stuck = true;
  scene.read(bodyOf(1, FIRST_BUFFER_BYTES));
  assert.deepEqual([scene.from.paused, scene.buffers.pooledCount], [true, 0]);
  scene.to.drain();
  assert.deepEqual(
    [scene.from.paused, scene.buffers.pooledCount],
    [false, 1],
    'given back: nothing may follow',
  );
  scene.to.stuck = true;
  scene.read(bodyOf(2, FIRST_BUFFER_BYTES));
  scene.side.close();
  assert.equal(scene.buffers.pooledCount, 0, 'dropped, because the wire may still read it');
});

test('a close frame that waits frees no memory that the wire has for its next read', () => {
  const scene = new Scene({ hasFrames: true });
  const whole = bodyOf(1, FIRST_BUFFER_BYTES);
  whole[0] = 0x82;
  whole[1] = 126;
  whole.writeUInt16BE(FIRST_BUFFER_BYTES - 4, 2);
  scene.read(whole);
  assert.equal(scene.ownBytes, FIRST_BUFFER_BYTES);
  scene.to.stuck = true;
  // A drain says goodbye between two reads.
  scene.side.sayClose();
  scene.to.drain();
  assert.deepEqual([scene.from.paused, scene.buffers.pooledCount], [false, 0]);
  assert.equal(scene.to.text.length, FIRST_BUFFER_BYTES + 8, 'the frame, and a masked close frame');
  scene.side.close();
  assert.equal(scene.buffers.pooledCount, 1, 'given back when the wire is closed');
});
