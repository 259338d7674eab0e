/** Writing: what the wire reports of the bytes must be true. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bodyOf } from '../../support/pattern.ts';
import { waitFor } from '../../support/wait.ts';
import { collect, LARGE_BYTES, turns, WAYS } from './pairs.ts';

const LARGE = 'x'.repeat(LARGE_BYTES);

for (const way of WAYS) {
  test(`${way.name}: a small text is written at once`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    assert.equal(
      owner.call(() => wire.writeText('caf\xe9')),
      true,
    );
    assert.deepEqual([wire.blocked, wire.takenBytes], [false, 4]);
    const got = collect(peer);
    await waitFor('the text', () => got.length === 4);
    assert.equal(got.text, 'caf\xe9');
    assert.deepEqual([owner.told, owner.wrongCalls], [[], []]);
  });

  test(`${way.name}: a large text waits for a peer that does not read, and its drain is reported once`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    assert.equal(
      owner.call(() => wire.writeText(LARGE)),
      false,
    );
    assert.equal(wire.blocked, true);
    // The kernel buffers a part without the peer.
    let held = wire.takenBytes;
    await waitFor('the kernel to be full', async () => {
      const before = held;
      await turns(50);
      held = wire.takenBytes;
      return held === before;
    });
    assert.ok(held < LARGE_BYTES, String(held));
    assert.equal(
      owner.call(() => wire.writeText('!')),
      false,
    );
    assert.deepEqual(owner.told, []);
    const got = collect(peer);
    await waitFor('everything', () => got.length === LARGE_BYTES + 1 && owner.count('drain') === 1);
    assert.ok(wire.takenBytes > held);
    assert.deepEqual([wire.blocked, wire.takenBytes], [false, LARGE_BYTES + 1]);
    await turns();
    assert.deepEqual([owner.told, owner.wrongCalls], [['drain'], []]);
    assert.ok(got.text === `${LARGE}!`);
  });

  test(`${way.name}: drain is reported each time that waiting ends, after everything written meanwhile`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    const atDrain: [boolean, number][] = [];
    owner.hooks.drain = () => atDrain.push([wire.blocked, wire.takenBytes]);
    const got = collect(peer);
    let written = 0;
    for (let round = 1; round <= 3; round++) {
      peer.pause();
      for (let i = 0; i < 3; i++) assert.equal(wire.writeText(LARGE), false);
      written += 3 * LARGE_BYTES;
      peer.resume();
      await waitFor('a drain', () => owner.count('drain') === round);
      assert.deepEqual(atDrain[round - 1], [false, written]);
      assert.equal(wire.writeText('small'), true);
      written += 5;
    }
    await waitFor('everything', () => got.length === written);
    await turns();
    assert.equal(owner.count('drain'), 3);
  });

  test(`${way.name}: a write in onDrain may wait again, and is reported again`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    owner.hooks.drain = () => {
      if (owner.count('drain') <= 3) owner.call(() => wire.writeText(LARGE));
    };
    assert.equal(wire.writeText(LARGE), false);
    const got = collect(peer);
    await waitFor('all four', () => got.length === 4 * LARGE_BYTES && !wire.blocked);
    await turns();
    // A text that was written completely needs no drain.
    assert.ok(owner.count('drain') >= 1 && owner.count('drain') <= 4);
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${way.name}: a chunk is written between its texts, each of which may be empty`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    const got = collect(peer);
    const chunk = Buffer.from('(\xe9\xff\x00)', 'latin1');
    const written = owner.call(() => [
      wire.writeChunk('a\xe9', chunk, 'z\xfc'),
      wire.writeChunk('', chunk, ''),
      wire.writeChunk('b', chunk, ''),
      wire.writeChunk('', chunk, 'c'),
      wire.writeChunk('d', Buffer.alloc(0), 'e'),
      wire.writeText(''),
    ]);
    assert.deepEqual(written, [true, true, true, true, true, true]);
    const all = 'a\xe9(\xe9\xff\x00)z\xfc' + '(\xe9\xff\x00)' + 'b(\xe9\xff\x00)' + '(\xe9\xff\x00)c' + 'de';
    await waitFor('everything', () => got.length >= all.length);
    assert.equal(got.text, all);
    assert.deepEqual([owner.told, owner.wrongCalls, wire.takenBytes], [[], [], all.length]);
  });

  test(`${way.name}: waiting texts and chunks keep their order and bytes above 127`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    let all = LARGE;
    assert.equal(wire.writeText(LARGE), false);
    for (let i = 0; i < 200; i++) {
      const chunk = bodyOf(i, 1 + ((i * 997) % 20_000));
      const text = `${i}:\xe9\xfc\xff\x80;`;
      owner.call(() => {
        assert.equal(wire.writeText(text), false);
        assert.equal(wire.writeChunk(i % 2 === 0 ? text : '', chunk, i % 3 === 0 ? `\xe9${i}` : ''), false);
      });
      all += text + (i % 2 === 0 ? text : '') + chunk.toString('latin1') + (i % 3 === 0 ? `\xe9${i}` : '');
    }
    const got = collect(peer);
    await waitFor('everything', () => got.length >= all.length && owner.count('drain') === 1);
    assert.ok(got.text === all);
    assert.deepEqual([owner.told, owner.wrongCalls, wire.takenBytes], [['drain'], [], all.length]);
  });

  test(`${way.name}: after true the memory may be reused; after false the wire still reads it`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    let all = '';
    const memory = Buffer.alloc(10_000);
    for (let i = 0; ; i++) {
      assert.ok(i < 10_000, 'the peer does not read');
      const body = bodyOf(i, memory.length);
      body.copy(memory);
      all += `<${i}>${body.toString('latin1')}\r\n`;
      const taken = owner.call(() => wire.writeChunk(`<${i}>`, memory, '\r\n'));
      assert.equal(taken, !wire.blocked);
      if (!taken) break;
      memory.fill('#');
    }
    // Referenced by the wire alone: it must survive a garbage collection.
    for (let i = 0; i < 30; i++) {
      all += bodyOf(i, 50_000).toString('latin1');
      assert.equal(wire.writeChunk('', Buffer.from(bodyOf(i, 50_000)), ''), false);
    }
    for (let i = 0; i < 50; i++) Buffer.alloc(1_000_000, '#');
    const got = collect(peer);
    await waitFor('everything', () => got.length >= all.length && owner.count('drain') === 1);
    assert.ok(got.text === all);
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${way.name}: both directions at once do not mix their bytes`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    const [there, back] = [bodyOf(7, LARGE_BYTES), bodyOf(8, LARGE_BYTES)];
    wire.writeChunk('', there, '');
    peer.write(back);
    const got = collect(peer);
    let received = 0;
    owner.hooks.read = () => {
      if (owner.readCount % 50 === 0) received = owner.bytes.length;
    };
    await waitFor('ours', () => got.length === LARGE_BYTES);
    await waitFor('the peer\u2019s', () => received === LARGE_BYTES || owner.bytes.length === LARGE_BYTES);
    assert.ok(got.text === there.toString('latin1'));
    assert.ok(owner.bytes.equals(back));
  });

  test(`${way.name}: probe writes nothing and changes nothing`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    owner.call(() => wire.probe());
    wire.writeText(LARGE);
    owner.call(() => wire.probe());
    const got = collect(peer);
    await waitFor('everything', () => owner.count('drain') === 1 && got.length === LARGE_BYTES);
    owner.call(() => wire.probe());
    await turns();
    assert.deepEqual([owner.told, owner.wrongCalls, wire.writeFailed], [['drain'], [], false]);
    assert.equal(wire.takenBytes, LARGE_BYTES);
    assert.equal(got.length, LARGE_BYTES);
  });
}
