/** Reads, writes and ends over TLS to a backend, where node's handle differs from that of TCP. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bodyOf, firstMismatch } from '../../support/pattern.ts';
import { waitFor } from '../../support/wait.ts';
import { closeOf, collect, LARGE_BYTES, TLS_WAYS, turns } from './pairs.ts';
import { RecordingOwner } from './recording-owner.ts';

for (const way of TLS_WAYS) {
  test(`${way.name}: texts and chunks of one turn arrive whole and in order, also before an end, even if it is asked for twice`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    const got = collect(peer);
    const large = bodyOf(5, 300_000);
    owner.call(() => {
      wire.writeText('one,');
      wire.writeText('two,');
      wire.writeChunk('', Buffer.from('three,'), '');
      wire.writeChunk('<', large, '>');
      wire.writeText('last');
      wire.end();
      wire.end();
    });
    await waitFor('the end', () => got.ended);
    assert.equal(got.text, `one,two,three,<${large.toString('latin1')}>last`);
    assert.deepEqual([owner.count('drain') <= 1, owner.wrongCalls], [true, []]);
  });

  test(`${way.name}: a text of each turn, behind a pending one or from within onDrain, arrives in order`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    const got = collect(peer);
    let all = '';
    const write = (text: string) => {
      all += text;
      owner.call(() => wire.writeText(text));
    };
    owner.hooks.drain = () => {
      if (owner.count('drain') > 20) return;
      write(`in drain ${owner.count('drain')};`);
      write('twice;');
      write('x'.repeat(16_384));
    };
    for (let i = 0; i < 50; i++) {
      write(`${i}:\xe9\xff;`);
      if (i % 5 === 4) write('');
      if (i % 10 === 9) write('y'.repeat(i * 1_000));
      await turns(i % 3);
    }
    await waitFor('everything', () => got.length === all.length && !wire.blocked);
    assert.ok(got.text === all);
    owner.call(() => wire.writeText(''));
    await turns();
    assert.deepEqual([wire.blocked, wire.writeFailed, owner.wrongCalls], [false, false, []]);
    owner.call(() => wire.end());
    await waitFor('the end', () => got.ended);
  });

  test(`${way.name}: after a pause nobody writes into memory of the owner, though node reads several records at once`, async (t) => {
    const owner = new RecordingOwner([16_384]);
    const { peer, wire } = await way.pair(t, owner);
    const body = bodyOf(6, 400_000);
    let atPause = -1;
    owner.hooks.read = () => {
      assert.equal(atPause, -1, 'nothing is read while it is paused');
      atPause = owner.bytes.length;
      owner.call(() => wire.pause());
    };
    peer.write(body);
    peer.end();
    while (owner.bytes.length < body.length) {
      await waitFor('a pause', () => atPause === owner.bytes.length);
      await turns(3);
      if (owner.bytes.length < body.length) assert.deepEqual([owner.count('end'), wire.readable], [0, true]);
      atPause = -1;
      owner.call(() => wire.resume());
    }
    owner.call(() => wire.resume());
    await waitFor('the end', () => owner.count('end') === 1);
    assert.equal(firstMismatch(owner.bytes, body), -1);
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${way.name}: a close in the middle of several records leaves the memory of the owner alone`, async (t) => {
    const owner = new RecordingOwner([16_384]);
    const { peer, wire } = await way.pair(t, owner);
    let memory: Buffer | null = null;
    const { nextBuffer } = owner;
    owner.nextBuffer = () => {
      memory = nextBuffer.call(owner);
      return memory;
    };
    owner.hooks.read = () => {
      owner.leave();
      memory?.fill('?');
    };
    peer.write(bodyOf(7, 300_000));
    await waitFor('the close', () => wire.closed);
    await turns();
    const left: Buffer = memory ?? Buffer.alloc(0);
    assert.equal(left.toString('latin1'), '?'.repeat(left.length));
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${way.name}: close tells the peer of the end by close_notify, reset does not`, async (t) => {
    for (const how of ['close', 'reset'] as const) {
      const { owner, peer, peerErrors } = await way.pair(t);
      const got = collect(peer);
      owner.call((wire) => wire.writeText('some'));
      await waitFor('the text', () => got.text === 'some');
      await turns();
      const closed = closeOf(peer);
      peer.on('end', () => peer.end());
      owner.leave(how);
      await closed;
      assert.deepEqual([got.ended, peerErrors.length], how === 'close' ? [true, 0] : [false, 1], how);
    }
  });

  test(`${way.name}: takenBytes grows while the peer reads, and stands still while it does not`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    assert.equal(wire.writeText('x'.repeat(LARGE_BYTES)), false);
    await waitFor('a full kernel', async () => {
      const before = wire.takenBytes;
      await turns(20);
      return wire.takenBytes === before;
    });
    const before = wire.takenBytes;
    const got = collect(peer);
    await waitFor('the drain', () => owner.count('drain') === 1);
    assert.ok(wire.takenBytes > before);
    await waitFor('the bytes', () => got.length === LARGE_BYTES);
  });
}
