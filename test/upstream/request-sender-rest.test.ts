/** What is left of one piece, or one request, must not show in the next. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SMALL_PIECE_BYTES } from '../../src/http1/body-buffers.ts';
import { HEAD, makeSender, REQUEST } from './sender-scene.ts';

test('nothing of a request that was stopped is in the next one', () => {
  const { sender, wire } = makeSender();
  sender.begin(REQUEST);
  sender.write(Buffer.from('hello'));
  sender.stop();
  sender.begin(REQUEST);
  sender.write(Buffer.from('world'));
  sender.end([]);
  assert.equal(wire.text, `${HEAD}5\r\nworld\r\n0\r\n\r\n`);
});

test('the next piece is asked for only where one was refused', () => {
  const { sender, wire, counts } = makeSender();
  sender.begin(REQUEST);
  wire.stuck = true;
  assert.equal(sender.write(Buffer.alloc(SMALL_PIECE_BYTES, 'x')), false);
  wire.drain();
  assert.equal(counts.writable, 1);
  wire.stuck = true;
  sender.end([]);
  wire.drain();
  assert.deepEqual(counts, { sent: 1, blocked: 2, unblocked: 2, writable: 1 });
});

test('small pieces leave once there are many of them, within one turn', () => {
  const { sender, wire } = makeSender();
  sender.begin(REQUEST);
  for (let i = 0; i < 16; i++) sender.write(Buffer.alloc(SMALL_PIECE_BYTES - 1, 'x'));
  assert.equal(wire.writeCount, 0);
  for (let i = 0; i < 16; i++) sender.write(Buffer.alloc(SMALL_PIECE_BYTES - 1, 'x'));
  assert.equal(wire.writeCount, 1);
  sender.stop();
});
