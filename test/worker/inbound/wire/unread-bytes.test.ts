import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnreadBytes } from '../../../../src/worker/inbound/wire/unread-bytes.ts';

test('bytes that come one by one move to other memory a few times only, and it is at most twice as large', () => {
  const unread = new UnreadBytes();
  const buffers = new Set<Buffer>();
  const source = Buffer.from('0123456789', 'latin1');
  for (let i = 0; i < 50_000; i++) {
    unread.append(source, i % 10, (i % 10) + 1);
    buffers.add(unread.buffer);
    assert.ok(unread.buffer.length <= Math.max(1024, 2 * unread.length));
  }
  assert.ok(buffers.size < 10, `${buffers.size} times`);
  assert.equal(unread.buffer.toString('latin1', unread.from, unread.to), '0123456789'.repeat(5_000));
});

test('what is consumed makes room, what is not stays in order, and the memory goes with the last byte', () => {
  const unread = new UnreadBytes();
  const text = Array.from({ length: 5_000 }, (_, i) => String.fromCharCode(33 + (i % 90))).join('');
  const source = Buffer.from(text, 'latin1');
  unread.append(source, 0, 1_000);
  unread.consumeTo(unread.from + 900);
  unread.append(source, 1_000, 4_000);
  assert.equal(unread.buffer.toString('latin1', unread.from, unread.to), text.slice(900, 4_000));
  assert.equal(unread.length, 3_100);
  unread.consumeTo(unread.to);
  assert.deepEqual([unread.length, unread.buffer.length], [0, 0]);
});
