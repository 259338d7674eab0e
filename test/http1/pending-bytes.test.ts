import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PendingBytes } from '../../src/http1/pending-bytes.ts';

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
