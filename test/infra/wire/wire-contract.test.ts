/** Behaviours that did not hold when the tests of the wires were written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bodyOf, firstMismatch } from '../../support/pattern.ts';
import { waitFor } from '../../support/wait.ts';
import { closeOf, collect, LARGE_BYTES, RecordingOwner, turns, WAYS } from './pairs.ts';

const LARGE = 'x'.repeat(LARGE_BYTES);

for (const way of WAYS) {
  test(`${way.name}: nothing is called after a close in the middle of a chunk`, async (t) => {
    const owner = new RecordingOwner([100]);
    const { peer, wire } = await way.pair(t, owner);
    owner.hooks.read = () => owner.leave();
    peer.resume();
    peer.write(bodyOf(5, 50_000));
    const closed = closeOf(peer);
    await waitFor('the first bytes', () => owner.readCount === 1);
    assert.equal(wire.closed, true);
    assert.equal(wire.readable, false);
    peer.end();
    await closed;
    await turns();
    assert.deepEqual([owner.readCount, owner.told, owner.wrongCalls], [1, [], []]);
  });

  test(`${way.name}: reset while bytes wait and in the middle of a read is the last of it`, async (t) => {
    const owner = new RecordingOwner([10]);
    const { peer, wire } = await way.pair(t, owner);
    owner.hooks.read = () => owner.leave('reset');
    wire.writeText('x'.repeat(LARGE_BYTES));
    peer.write('y'.repeat(1000));
    await waitFor('the read', () => owner.readCount === 1);
    const closed = closeOf(peer);
    peer.resume();
    peer.end();
    await closed;
    await turns();
    assert.deepEqual([owner.readCount, owner.told, owner.wrongCalls], [1, [], []]);
  });

  test(`${way.name}: one that is paused as it opens reads nothing before resume`, async (t) => {
    const owner = new RecordingOwner();
    owner.hooks.open = () => owner.wire.pause();
    const { peer, wire } = await way.pair(t, owner);
    await new Promise((resolve) => peer.write('hello', resolve));
    await turns();
    assert.equal(owner.text, '');
    wire.resume();
    await waitFor('the bytes', () => owner.text === 'hello');
  });

  test(`${way.name}: end loses nothing that was written while an earlier write was on its way`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    const got = collect(peer);
    peer.pause();
    assert.equal(wire.writeText(LARGE), false);
    assert.equal(wire.writeText(LARGE), false);
    // The first has left and the second has not.
    await waitFor('the first', () => {
      if (wire.takenBytes >= LARGE_BYTES) return true;
      peer.resume();
      peer.once('data', () => peer.pause());
      return false;
    });
    peer.pause();
    assert.equal(wire.writeText(LARGE), false);
    owner.call(() => wire.end());
    peer.resume();
    await waitFor('our FIN', () => got.ended);
    assert.equal(got.length, 3 * LARGE_BYTES);
    assert.deepEqual([owner.errors, wire.closed], [[], false]);
  });

  test(`${way.name}: the peer's FIN is told once behind its bytes, and writing goes on`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    let readableAtEnd = true;
    owner.hooks.end = () => {
      readableAtEnd = wire.readable;
    };
    const got = collect(peer);
    assert.equal(wire.readable, true);
    peer.end('all of it');
    await waitFor('the end', () => owner.count('end') === 1);
    assert.deepEqual([owner.text, readableAtEnd, wire.closed], ['all of it', false, false]);
    await turns();
    // Nothing of it is told again by reading on.
    owner.call(() => {
      wire.pause();
      wire.resume();
    });
    wire.writeText('still ');
    wire.writeText(LARGE);
    await waitFor('everything', () => got.length === LARGE_BYTES + 6 && !wire.blocked);
    await turns();
    assert.deepEqual([owner.count('end'), owner.count('broken'), owner.wrongCalls], [1, 0, []]);
    assert.deepEqual([got.ended, wire.writeFailed], [false, false]);
    wire.end();
    await waitFor('our FIN', () => got.ended);
  });

  test(`${way.name}: a FIN behind a chunk whose rest waits is told behind the rest`, async (t) => {
    const owner = new RecordingOwner([100]);
    const { peer, wire } = await way.pair(t, owner);
    const body = bodyOf(9, 10_000);
    owner.hooks.read = () => {
      if (owner.readCount === 1) wire.pause();
    };
    let atEnd = -1;
    owner.hooks.end = () => {
      atEnd = owner.bytes.length;
    };
    peer.end(body);
    await waitFor('the pause', () => owner.readCount === 1);
    await turns(30);
    assert.deepEqual([owner.told, owner.bytes.length, wire.readable], [[], 100, true]);
    wire.resume();
    await waitFor('the end', () => owner.count('end') === 1);
    assert.equal(atEnd, body.length);
    assert.equal(firstMismatch(owner.bytes, body), -1);
  });

  test(`${way.name}: after both FINs the wire is the owner's to close, and not broken`, async (t) => {
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
