import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  PENDING_MAX_BYTES,
  PendingBytes,
  PendingMemory,
  type PendingOwner,
} from '../../src/memory/pending-bytes.ts';

test('single bytes are copied to new memory a few times only, which is at most twice as large', () => {
  const pending = new PendingBytes();
  const buffers = new Set<Buffer>();
  const source = Buffer.from('0123456789', 'latin1');
  for (let i = 0; i < 50_000; i++) {
    pending.append(source, i % 10, (i % 10) + 1);
    buffers.add(pending.buffer);
    assert.ok(pending.buffer.length <= Math.max(1024, 2 * pending.length));
  }
  assert.ok(buffers.size < 10, `${buffers.size} times`);
  assert.equal(pending.buffer.toString('latin1', pending.from, pending.to), '0123456789'.repeat(5_000));
});

test('consumed bytes make room, the others stay in order, and the memory is freed with the last byte', () => {
  const pending = new PendingBytes();
  const text = Array.from({ length: 5_000 }, (_, i) => String.fromCharCode(33 + (i % 90))).join('');
  const source = Buffer.from(text, 'latin1');
  pending.append(source, 0, 1_000);
  pending.consumeTo(pending.from + 900);
  pending.append(source, 1_000, 4_000);
  assert.equal(pending.buffer.toString('latin1', pending.from, pending.to), text.slice(900, 4_000));
  assert.equal(pending.length, 3_100);
  pending.consumeTo(pending.to);
  assert.deepEqual([pending.length, pending.buffer.length], [0, 0]);
});

test('memory shrinks as bytes are consumed: at most four times the rest, moving fewer bytes than were consumed', () => {
  const pending = new PendingBytes();
  pending.append(Buffer.alloc(100_000, 'x'), 0, 100_000);
  let usedBytes = 0;
  let movedBytes = 0;
  while (pending.length > 0) {
    const { buffer } = pending;
    const step = Math.min(pending.length, 90);
    pending.consumeTo(pending.from + step);
    usedBytes += step;
    if (pending.buffer !== buffer) movedBytes += pending.length;
    assert.ok(pending.buffer.length <= Math.max(1024, 4 * pending.length));
  }
  assert.ok(movedBytes <= usedBytes, `${movedBytes} bytes were moved, ${usedBytes} used`);
});

test('nearly full memory from which bytes are used as others come is not copied for each of them', () => {
  const pending = new PendingBytes();
  const source = Buffer.alloc(16_350, 'x');
  pending.append(source, 0, source.length);
  let movedBytes = 0;
  for (let i = 0; i < 5_000; i++) {
    const { buffer } = pending;
    pending.consumeTo(pending.from + 26);
    pending.append(source, 0, 26);
    if (pending.buffer !== buffer) movedBytes += pending.length;
    assert.ok(pending.buffer.length <= 4 * pending.length);
  }
  assert.equal(pending.length, source.length);
  assert.ok(movedBytes <= 3 * 26 * 5_000, `${movedBytes} bytes were moved, ${26 * 5_000} used`);
});

class Client implements PendingOwner {
  readonly pendingMemory: PendingMemory;
  readonly pending = new PendingBytes(this);
  isCut = false;

  constructor(pendingMemory: PendingMemory, bytes: number) {
    this.pendingMemory = pendingMemory;
    this.send(bytes);
  }

  send(bytes: number): void {
    this.pending.append(Buffer.allocUnsafe(bytes), 0, bytes);
  }

  destroy(): void {
    this.isCut = true;
    this.pending.clear();
  }
}

test('when too much waits, those are cut that have waited longest, whatever they take, and no more than needed', () => {
  const memory = new PendingMemory();
  const [small, served, old, large, late] = [4_096, 8_192, 8_192, PENDING_MAX_BYTES / 2, 8_192].map(
    (bytes) => new Client(memory, bytes),
  );
  assert.ok(small && served && old && large && late);
  const before = memory.bytes;
  small.send(4_096);
  small.pending.consumeTo(small.pending.to - 1);
  assert.equal(memory.bytes, before, 'little is not counted');
  let cuts = 0;
  const onCut = { onOverload: () => cuts++ };
  memory.cutExcess(onCut);
  assert.equal(cuts, 0);
  // Its bytes had their turn, and others have come.
  served.pending.consumeTo(served.pending.to);
  served.send(8_192);
  late.send(PENDING_MAX_BYTES / 2 - 16_384);
  memory.cutExcess(onCut);
  assert.deepEqual(
    [small, served, old, large, late].map(({ isCut }) => isCut),
    [false, false, true, true, false],
  );
  assert.deepEqual([cuts, memory.bytes], [2, PENDING_MAX_BYTES / 2 + 8_192]);
  for (const client of [served, late]) client.destroy();
  assert.equal(memory.bytes, 0);
});
