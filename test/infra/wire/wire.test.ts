/** Reading into the owner's memory, with pauses, up to a close. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { bodyOf, firstMismatch } from '../../support/pattern.ts';
import { waitFor } from '../../support/wait.ts';
import { closeOf, LARGE_BYTES, TLS_WAYS, turns, WAYS } from './pairs.ts';
import { RecordingOwner } from './recording-owner.ts';

/** Several of node's chunks of 64 KiB. */
const BODY_BYTES = 300_000;

for (const way of [...WAYS, ...TLS_WAYS]) {
  test(`${way.name}: all bytes arrive in order, in buffers of any size that change with each read`, async (t) => {
    const owner = new RecordingOwner([1, 700, 3, 65_536, 64, 5000]);
    const { peer, wire } = await way.pair(t, owner);
    const body = bodyOf(1, BODY_BYTES);
    let [seen, largest] = [0, 0];
    owner.hooks.read = () => {
      largest = Math.max(largest, owner.bytes.length - seen);
      seen = owner.bytes.length;
    };
    peer.write(body);
    await waitFor('the body', () => seen === BODY_BYTES);
    assert.equal(firstMismatch(owner.bytes, body), -1);
    assert.ok(owner.readCount >= 2 * Math.floor(BODY_BYTES / 71_304), String(owner.readCount));
    assert.ok(largest <= 65_536, String(largest));
    assert.deepEqual([owner.told, owner.wrongCalls, wire.readable], [[], [], true]);
  });

  test(`${way.name}: a chunk much longer than the buffer arrives in pieces that fill it`, async (t) => {
    const owner = new RecordingOwner([10]);
    const { peer } = await way.pair(t, owner);
    const body = bodyOf(2, 10_000);
    peer.write(body);
    await waitFor('the body', () => owner.bytes.length === body.length);
    assert.equal(firstMismatch(owner.bytes, body), -1);
    assert.ok(owner.readCount >= 1000, String(owner.readCount));
  });

  test(`${way.name}: a pause in the middle of a chunk stops at once, and resume continues there`, async (t) => {
    const owner = new RecordingOwner([1000, 333]);
    const { peer, wire } = await way.pair(t, owner);
    const body = bodyOf(3, 40_000);
    owner.hooks.read = () => {
      if (owner.readCount % 4 === 0) owner.call(() => wire.pause());
    };
    peer.write(body);
    let [pauses, paused] = [0, 0];
    const stopped = () => owner.readCount > paused && owner.readCount % 4 === 0;
    for (;;) {
      await waitFor('a pause or the end', () => stopped() || owner.bytes.length === body.length);
      if (owner.bytes.length === body.length) break;
      assert.ok(owner.readCount - paused === 4, 'nothing came between the pause and the look');
      paused = owner.readCount;
      await turns();
      assert.equal(owner.readCount, paused, 'nothing comes while it is paused');
      pauses++;
      owner.call(() => wire.resume());
      assert.equal(owner.readCount, paused, 'nothing comes from within resume');
    }
    assert.ok(pauses > 10, String(pauses));
    assert.equal(firstMismatch(owner.bytes, body), -1);
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${way.name}: pause followed by resume, and resume followed by pause, change nothing`, async (t) => {
    const owner = new RecordingOwner([100]);
    const { peer, wire } = await way.pair(t, owner);
    const body = bodyOf(4, 30_000);
    const stop = owner.bytes.length + 5000;
    owner.hooks.read = () => {
      owner.call(() => {
        wire.pause();
        wire.resume();
        if (owner.bytes.length >= stop) wire.pause();
      });
    };
    peer.write(body);
    await waitFor('the pause', () => owner.bytes.length >= stop);
    owner.call(() => {
      for (let i = 0; i < 3; i++) {
        wire.resume();
        wire.pause();
      }
    });
    const before = owner.readCount;
    await turns();
    assert.equal(owner.readCount, before);
    owner.hooks.read = () => {
      owner.call(() => wire.resume());
    };
    owner.call(() => {
      wire.resume();
      wire.resume();
    });
    await waitFor('the body', () => owner.bytes.length === body.length);
    assert.equal(firstMismatch(owner.bytes, body), -1);
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${way.name}: it may be resumed as it opens, whether paused before or not`, async (t) => {
    for (const acts of [['resume'], ['pause', 'resume'], ['pause', 'resume', 'pause', 'resume']] as const) {
      const owner = new RecordingOwner();
      owner.hooks.open = () => {
        for (const act of acts) owner.wire[act]();
      };
      const { peer, wire } = await way.pair(t, owner);
      peer.write('hello');
      await waitFor('the bytes', () => owner.text === 'hello');
      await turns();
      assert.deepEqual([owner.errors, wire.closed], [[], false]);
    }
  });

  test(`${way.name}: a wire closed as it opens makes no call`, async (t) => {
    const owner = new RecordingOwner();
    owner.hooks.open = () => owner.leave();
    const { peer, wire } = await way.pair(t, owner);
    const closed = closeOf(peer);
    peer.resume().end('hello');
    await closed;
    await turns();
    assert.deepEqual([wire.closed, owner.readCount, owner.told, owner.wrongCalls], [true, 0, [], []]);
  });

  test(`${way.name}: bytes and FIN that arrived during a pause are delivered after resume, in order`, async (t) => {
    const body = bodyOf(9, 10_000);
    // Paused before the first byte, inside onConnect or onAccept, or in the middle of a chunk.
    for (const when of ['open', 'opening', 'reading'] as const) {
      const owner = new RecordingOwner([100]);
      if (when === 'opening') owner.hooks.open = () => owner.wire.pause();
      const { peer, wire } = await way.pair(t, owner);
      if (when === 'open') wire.pause();
      owner.hooks.read = () => {
        if (when === 'reading' && owner.readCount === 1) wire.pause();
      };
      let atEnd = -1;
      owner.hooks.end = () => {
        atEnd = owner.bytes.length;
      };
      peer.end(body);
      await once(peer, 'finish');
      const reads = when === 'reading' ? 1 : 0;
      await waitFor('the pause', () => owner.readCount >= reads);
      await turns(30);
      assert.deepEqual([owner.told, owner.bytes.length, wire.readable], [[], 100 * reads, true], when);
      wire.resume();
      await waitFor('the end', () => owner.count('end') === 1);
      assert.equal(atEnd, body.length, when);
      assert.equal(firstMismatch(owner.bytes, body), -1, when);
    }
  });

  test(`${way.name}: no call comes after a close in the middle of a chunk, inside the read or later`, async (t) => {
    for (const isWithin of [true, false]) {
      const owner = new RecordingOwner([100]);
      const { peer, wire } = await way.pair(t, owner);
      owner.hooks.read = () => (isWithin ? owner.leave() : wire.pause());
      const closed = closeOf(peer);
      peer.resume().write(bodyOf(6, 50_000));
      await waitFor('the first bytes', () => owner.readCount === 1);
      if (!isWithin) {
        wire.resume();
        owner.leave();
        for (const act of ['resume', 'pause', 'resume', 'probe', 'end', 'close', 'reset'] as const)
          wire[act]();
      }
      assert.deepEqual([wire.closed, wire.readable], [true, false]);
      peer.end();
      await closed;
      await turns();
      assert.deepEqual([owner.readCount, owner.told, owner.wrongCalls], [1, [], []]);
    }
  });

  test(`${way.name}: no call comes after a close in onEnd`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    owner.hooks.end = () => owner.leave();
    const ended = once(peer, 'end');
    peer.resume().end('bye');
    await ended;
    await turns();
    assert.deepEqual([owner.text, owner.told, owner.wrongCalls, wire.closed], ['bye', ['end'], [], true]);
  });

  test(`${way.name}: no call comes after a close in onDrain`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    owner.hooks.drain = () => owner.leave();
    assert.equal(wire.writeText('x'.repeat(LARGE_BYTES)), false);
    const ended = once(peer, 'end');
    peer.resume().write('more');
    await ended;
    await turns();
    assert.deepEqual([owner.told, owner.wrongCalls, wire.closed], [['drain'], [], true]);
  });

  test(`${way.name}: no call comes after a close with waiting bytes, which are lost`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    let got = 0;
    peer.on('data', (piece: Buffer) => {
      got += piece.length;
    });
    peer.pause();
    assert.equal(wire.writeText('x'.repeat(LARGE_BYTES)), false);
    owner.leave();
    // Over TLS what the wire has not read, such as tickets, makes the kernel send a RST.
    const ended = way.transport === 'TLS' ? closeOf(peer) : once(peer, 'end');
    peer.resume();
    await ended;
    await turns();
    assert.ok(got < LARGE_BYTES, String(got));
    assert.deepEqual([owner.told, owner.wrongCalls, wire.closed], [[], [], true]);
  });
}
