import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SMALL_PIECE_BYTES } from '../../src/contract/downstream.ts';
import { CHUNKED_BODY } from '../../src/contract/request-head.ts';
import { RequestSender } from '../../src/upstream/request-sender.ts';
import type { UpstreamRequest } from '../../src/upstream/upstream-request.ts';
import { POISON } from '../support/poisoned-buffers.ts';
import { StuckWire } from '../support/stuck-wire.ts';

const TURNS = 50;
const REQUEST: UpstreamRequest = {
  method: 'POST',
  target: '/',
  headerLines: 'Host: backend\r\n',
  bodyLength: CHUNKED_BODY,
  upgrade: '',
};
/** The first bytes of REQUEST on the wire. */
const HEAD = 'POST / HTTP/1.1\r\nHost: backend\r\nTransfer-Encoding: chunked\r\n\r\n';

/** makeSender counts a sender's calls to its owner. Its wire accepts nothing while `stuck`. */
function makeSender() {
  const wire = new StuckWire();
  const counts = { sent: 0, blocked: 0, unblocked: 0, writable: 0 };
  const sender = new RequestSender(wire, {
    onRequestSent: () => counts.sent++,
    onBlocked: () => counts.blocked++,
    onUnblocked: () => counts.unblocked++,
    onWritable: () => counts.writable++,
  });
  wire.onDrain = () => sender.drained();
  return { sender, wire, counts };
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
}

test('a head and a small body that is there at once leave in one write', () => {
  const { sender, wire, counts } = makeSender();
  sender.begin(REQUEST);
  assert.equal(sender.write(Buffer.from('hello')), true);
  sender.end([]);
  assert.equal(wire.text, `${HEAD}5\r\nhello\r\n0\r\n\r\n`);
  assert.equal(wire.writeCount, 1);
  assert.deepEqual(counts, { sent: 1, blocked: 0, unblocked: 0, writable: 0 });
});

test('a head does not wait for a late body', async () => {
  const { sender, wire } = makeSender();
  sender.begin(REQUEST);
  await turns(1);
  assert.equal(wire.text, HEAD);
  sender.write(Buffer.from('hello'));
  await turns(1);
  assert.equal(wire.text, `${HEAD}5\r\nhello\r\n`);
});

test('small pieces may be overwritten at once, larger ones once the wire has drained', async () => {
  const { sender, wire, counts } = makeSender();
  sender.begin({ ...REQUEST, bodyLength: SMALL_PIECE_BYTES + 4 });
  wire.stuck = true;
  const small = Buffer.from('abcd');
  assert.equal(sender.write(small), true);
  small.fill(POISON);
  const large = Buffer.alloc(SMALL_PIECE_BYTES, 'x');
  assert.equal(sender.write(large), false);
  sender.end([]);
  await turns(TURNS);
  assert.equal(wire.text, '');
  assert.deepEqual(counts, { sent: 0, blocked: 1, unblocked: 0, writable: 0 });
  wire.drain();
  assert.ok(wire.text.endsWith(`\r\n\r\nabcd${'x'.repeat(SMALL_PIECE_BYTES)}`));
  assert.deepEqual(counts, { sent: 1, blocked: 1, unblocked: 1, writable: 1 });
});

test('a small piece for a blocked wire is copied, and further pieces are refused', async () => {
  const { sender, wire, counts } = makeSender();
  sender.begin({ ...REQUEST, bodyLength: 8 });
  wire.stuck = true;
  await turns(1);
  const small = Buffer.from('abcd');
  assert.equal(sender.write(small), false);
  small.fill(POISON);
  wire.drain();
  assert.equal(counts.writable, 1);
  sender.write(Buffer.from('efgh'));
  sender.end([]);
  assert.ok(wire.text.endsWith('abcdefgh'));
  assert.equal(counts.sent, 1);
});

test('a body longer or shorter than announced is refused, and no excess byte is sent', () => {
  const { sender, wire } = makeSender();
  sender.begin({ ...REQUEST, bodyLength: 3 });
  assert.throws(() => sender.write(Buffer.from('abcd')), { code: 'internal_error' });
  sender.abandon();
  sender.begin({ ...REQUEST, bodyLength: 3 });
  sender.write(Buffer.from('ab'));
  assert.throws(() => sender.end([]), { code: 'internal_error' });
  assert.doesNotMatch(wire.text, /ab/);
});

test('nothing is sent after stop', async () => {
  const { sender, wire, counts } = makeSender();
  sender.begin(REQUEST);
  sender.write(Buffer.from('hello'));
  sender.abandon();
  await turns(TURNS);
  assert.equal(wire.text, '');
  assert.equal(counts.sent, 0);
});

test('a stopped request leaves nothing for the next one', () => {
  const { sender, wire } = makeSender();
  sender.begin(REQUEST);
  sender.write(Buffer.from('hello'));
  sender.abandon();
  sender.begin(REQUEST);
  sender.write(Buffer.from('world'));
  sender.end([]);
  assert.equal(wire.text, `${HEAD}5\r\nworld\r\n0\r\n\r\n`);
});

test('the next piece is asked for only after one was refused', () => {
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

test('many small pieces are sent within one turn of the event loop', () => {
  const { sender, wire } = makeSender();
  sender.begin(REQUEST);
  for (let i = 0; i < 16; i++) sender.write(Buffer.alloc(SMALL_PIECE_BYTES - 1, 'x'));
  assert.equal(wire.writeCount, 0);
  for (let i = 0; i < 16; i++) sender.write(Buffer.alloc(SMALL_PIECE_BYTES - 1, 'x'));
  assert.equal(wire.writeCount, 1);
  sender.abandon();
});
