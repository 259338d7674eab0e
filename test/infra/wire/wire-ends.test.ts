/** Proper ends: the peer's FIN and ours. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { waitFor } from '../../support/wait.ts';
import { collect, LARGE_BYTES, turns, WAYS } from './pairs.ts';

const LARGE = 'x'.repeat(LARGE_BYTES);

for (const way of WAYS) {
  test(`${way.name}: the peer's FIN is told once, behind its bytes`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    let [readableAtEnd, atEnd] = [true, ''];
    owner.hooks.end = () => {
      readableAtEnd = wire.readable;
      atEnd = owner.text;
    };
    assert.equal(wire.readable, true);
    peer.end('all of it');
    await waitFor('the end', () => owner.count('end') === 1);
    assert.deepEqual([atEnd, readableAtEnd, wire.readable], ['all of it', false, false]);
    // Nothing of it is told again by reading on.
    for (let i = 0; i < 3; i++) {
      owner.call(() => {
        wire.pause();
        wire.resume();
      });
      await turns();
    }
    assert.deepEqual([owner.text, owner.count('end'), owner.wrongCalls], ['all of it', 1, []]);
  });

  test(`${way.name}: end sends our FIN behind what was written, and reading goes on`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    const got = collect(peer);
    wire.writeText('last');
    owner.call(() => wire.end());
    await waitFor('our FIN', () => got.ended);
    assert.equal(got.text, 'last');
    assert.deepEqual([wire.readable, wire.closed], [true, false]);
    peer.write('an answer');
    await waitFor('the answer', () => owner.text === 'an answer');
    assert.deepEqual([owner.told, owner.wrongCalls], [[], []]);
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

  test(`${way.name}: bytes that the peer sends behind our FIN come in order up to its own`, async (t) => {
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
}
