import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KEPT_MAX_BYTES, KeptBody, keptTotalBytes } from '../../src/upstream/kept-body.ts';

test('bytes that come one by one are kept in memory of their own, which is counted', () => {
  const kept = new KeptBody();
  const sent: Buffer[] = [];
  for (let i = 0; i < 5_000; i++) {
    const piece = kept.add(Buffer.from([i % 256]));
    // One byte in the slab that node shares would keep the whole slab.
    assert.equal(piece.buffer, kept.bytes.buffer);
    sent.push(piece);
  }
  assert.equal(kept.bytes.buffer.byteLength, 8_192);
  assert.equal(keptTotalBytes(), 8_192);
  // What was sent stays as it was, although the memory has moved since.
  assert.deepEqual(Buffer.concat(sent), kept.bytes);
  assert.deepEqual([...kept.bytes.subarray(254, 258)], [254, 255, 0, 1]);
  kept.forget();
  assert.equal(kept.bytes.length, 0);
  assert.equal(keptTotalBytes(), 0);
});

test('with one byte more than may be kept nothing is kept, and no copy is made', () => {
  const kept = new KeptBody();
  kept.add(Buffer.alloc(KEPT_MAX_BYTES));
  assert.equal(keptTotalBytes(), KEPT_MAX_BYTES);
  const last = Buffer.from('x');
  assert.equal(kept.add(last), last);
  assert.equal(keptTotalBytes(), 0);
});
