/** Normal ends: the peer's FIN and ours. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { waitFor } from '../../support/wait.ts';
import { closeOf, collect, LARGE_BYTES, TLS_WAYS, turns, WAYS } from './pairs.ts';

const LARGE = 'x'.repeat(LARGE_BYTES);

for (const way of [...WAYS, ...TLS_WAYS]) {
  test(`${way.name}: the peer's FIN is reported once, after its bytes, and writing continues`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    let [readableAtEnd, atEnd] = [true, ''];
    owner.hooks.end = () => {
      readableAtEnd = wire.readable;
      atEnd = owner.text;
    };
    const got = collect(peer);
    assert.equal(wire.readable, true);
    peer.end('all of it');
    await waitFor('the end', () => owner.count('end') === 1);
    assert.deepEqual([atEnd, readableAtEnd, wire.readable, wire.closed], ['all of it', false, false, false]);
    // Reading on must not report it again.
    for (let i = 0; i < 3; i++) {
      owner.call(() => {
        wire.pause();
        wire.resume();
      });
      await turns();
    }
    wire.writeText('still ');
    wire.writeText(LARGE);
    await waitFor('everything', () => got.length === LARGE_BYTES + 6 && !wire.blocked);
    await turns();
    assert.deepEqual([owner.count('end'), owner.count('broken'), owner.wrongCalls], [1, 0, []]);
    assert.deepEqual([owner.text, got.ended, wire.writeFailed], ['all of it', false, false]);
    wire.end();
    await waitFor('our FIN', () => got.ended);
  });

  test(`${way.name}: end sends our FIN after the written bytes, and reading continues`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    const got = collect(peer);
    wire.writeText('last');
    owner.call(() => wire.end());
    await waitFor('our FIN', () => got.ended);
    assert.equal(got.text, 'last');
    assert.deepEqual([wire.readable, wire.closed], [true, false]);
    peer.write('an answer');
    await waitFor('the answer', () => owner.text === 'an answer');
    const drains = way.tellsLate ? ['drain'] : [];
    assert.deepEqual([owner.told, owner.wrongCalls], [drains, []]);
    peer.end();
    await waitFor('the end', () => owner.count('end') === 1);
    await turns();
    assert.equal(owner.count('end'), 1);
  });

  test(`${way.name}: end while bytes wait loses none of them`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    assert.equal(wire.writeText(LARGE), false);
    assert.equal(wire.writeChunk('a', Buffer.from('b'), 'c'), false);
    owner.call(() => wire.end());
    await turns();
    const got = collect(peer);
    await waitFor('our FIN', () => got.ended);
    assert.equal(got.length, LARGE_BYTES + 3);
    assert.ok(got.text === `${LARGE}abc`);
    assert.deepEqual([owner.count('broken'), owner.count('drain'), wire.closed], [0, 1, false]);
  });

  test(`${way.name}: end loses no bytes that were written behind a pending write`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    const got = collect(peer);
    peer.pause();
    assert.equal(wire.writeText(LARGE), false);
    assert.equal(wire.writeText(LARGE), false);
    // The peer reads until the first write is complete, and the second is not.
    const stopReading = (): unknown =>
      wire.takenBytes >= LARGE_BYTES && peer.off('data', stopReading).pause();
    peer.on('data', stopReading).resume();
    await waitFor('the first', () => peer.isPaused());
    assert.ok(wire.takenBytes < 2 * LARGE_BYTES, `the second is complete too: ${wire.takenBytes} bytes`);
    assert.equal(wire.writeText(LARGE), false);
    owner.call(() => wire.end());
    peer.resume();
    await waitFor('our FIN', () => got.ended);
    assert.equal(got.length, 3 * LARGE_BYTES);
    assert.deepEqual([owner.errors, wire.closed], [[], false]);
  });

  test(`${way.name}: bytes that the peer sends after our FIN arrive in order, up to its own FIN`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    wire.end();
    wire.end();
    peer.resume();
    await once(peer, 'end');
    for (let i = 0; i < 100; i++) peer.write(`${i},`);
    peer.end();
    await waitFor('the end', () => owner.count('end') === 1);
    assert.equal(owner.text, Array.from({ length: 100 }, (_, i) => `${i},`).join(''));
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${way.name}: after FINs from both sides the wire is not broken, and the owner closes it`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    const closed = closeOf(peer);
    wire.end();
    peer.resume().end();
    await closed;
    await waitFor('the end', () => owner.count('end') === 1);
    await turns(30);
    assert.deepEqual([owner.told, wire.closed], [['end'], false]);
  });
}
