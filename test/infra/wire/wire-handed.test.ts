/** A wire that changes its owner, as those of a tunnel do. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { bodyOf, firstMismatch } from '../../support/pattern.ts';
import { waitFor } from '../../support/wait.ts';
import { WAYS } from './pairs.ts';
import { RecordingOwner } from './recording-owner.ts';

for (const way of WAYS) {
  test(`${way.name}: a wire that is handed to another owner reads into the new one's memory and tells it alone`, async (t) => {
    const owner = new RecordingOwner([5]);
    const next = new RecordingOwner([700, 3]);
    const { peer, wire } = await way.pair(t, owner);
    next.wire = wire;
    owner.hooks.read = () => wire.handTo(next);
    peer.write('first');
    await waitFor('the first bytes', () => owner.text === 'first');
    const body = bodyOf(6, 30_000);
    peer.end(body);
    await waitFor('the end', () => next.count('end') === 1);
    assert.equal(firstMismatch(next.bytes, body), -1);
    next.call(() => wire.writeText('answer'));
    assert.equal(String((await once(peer.resume(), 'data'))[0]), 'answer');
    assert.deepEqual([owner.text, owner.told, owner.wrongCalls, next.wrongCalls], ['first', [], [], []]);
  });
}
