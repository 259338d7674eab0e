/** Abnormal ends: resets by either side, failed writes, failed connects. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { waitFor, within } from '../../support/wait.ts';
import {
  breakOff,
  closeOf,
  collect,
  LARGE_BYTES,
  listen,
  MAKERS,
  TLS_WAYS,
  tcpPort,
  turns,
  WAYS,
} from './pairs.ts';
import { RecordingOwner } from './recording-owner.ts';

for (const way of [...WAYS, ...TLS_WAYS]) {
  test(`${way.name}: reset sends a RST over TCP and closes a Unix socket`, async (t) => {
    const { owner, peer, peerErrors, wire } = await way.pair(t);
    let ended = false;
    peer.on('end', () => {
      ended = true;
      peer.end();
    });
    const closed = closeOf(peer);
    peer.resume();
    owner.leave('reset');
    assert.deepEqual([wire.closed, wire.readable], [true, false]);
    await closed;
    await turns();
    const codes = peerErrors.map((error) => (error as NodeJS.ErrnoException).code);
    assert.deepEqual([codes, ended], way.transport === 'TCP' ? [['ECONNRESET'], false] : [[], true]);
    assert.deepEqual([owner.told, owner.wrongCalls], [[], []]);
  });

  test(`${way.name}: after reset, with bytes waiting and inside a read, the wire makes no call`, async (t) => {
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

  test(`${way.name}: reset closes the connection also while our FIN waits behind bytes`, async (t) => {
    const { owner, wire, peer } = await way.pair(t);
    assert.equal(wire.writeText('x'.repeat(LARGE_BYTES)), false);
    wire.end();
    await turns();
    owner.leave('reset');
    const got = collect(peer);
    peer.on('end', () => peer.end());
    await within(closeOf(peer), 15_000, 'the end of the connection');
    assert.ok(got.length < LARGE_BYTES, 'what waited did not leave');
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${way.name}: a failed write is reported once, whatever is written afterwards`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    wire.pause();
    await breakOff(peer);
    owner.call(() => wire.writeText('x'));
    for (let i = 0; i < 5; i++) owner.call(() => wire.writeChunk('a', Buffer.from('b'), 'c'));
    await waitFor('an error', () => owner.errors.length > 0);
    owner.call(() => wire.writeText('y'));
    await turns();
    const [first] = owner.told;
    assert.ok(first === 'write error' || first === 'broken', String(first));
    assert.deepEqual([wire.writeFailed, wire.closed], [first === 'write error', first === 'broken']);
    assert.match(String((owner.errors[0] as NodeJS.ErrnoException).code), /^(EPIPE|ECONNRESET)$/);
    assert.deepEqual([owner.told.length, owner.wrongCalls], [1, []]);
    if (way.side === 'connecting' && way.survivesFailedWrite) assert.equal(first, 'write error');
  });

  test(`${way.name}: probe notices that the peer of a paused wire has disconnected`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    wire.pause();
    await breakOff(peer);
    await waitFor('the error', () => {
      owner.call(() => wire.probe());
      return owner.errors.length > 0;
    });
    await turns();
    // A socket wire may notice before the probe, because node reads ahead.
    assert.equal(owner.count('write error') + owner.count('broken'), 1, owner.told.join());
    assert.deepEqual([owner.errors.length, owner.wrongCalls], [1, []]);
  });

  test(`${way.name}: when the peer disconnects while bytes wait, one error is reported and no drain`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    assert.equal(wire.writeText('x'.repeat(LARGE_BYTES)), false);
    assert.equal(wire.writeText('y'), false);
    await breakOff(peer);
    await waitFor('the error', () => owner.errors.length > 0);
    await turns();
    assert.ok(owner.count('write error') <= 1 && owner.count('broken') <= 1, owner.told.join());
    assert.equal(owner.count('drain'), 0);
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${way.name}: the same on a paused wire, where only the kernel knows`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    wire.pause();
    assert.equal(wire.writeText('x'.repeat(LARGE_BYTES)), false);
    assert.equal(wire.writeText('y'), false);
    await breakOff(peer);
    await waitFor('the error', () => owner.errors.length > 0);
    await turns();
    assert.equal(owner.errors.length, 1, owner.told.join());
    assert.equal(owner.told.length, 1, owner.told.join());
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${way.name}: the same with our FIN behind the bytes, on a paused wire`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    wire.pause();
    // More than node reads ahead, or a failed read would come first.
    peer.write(Buffer.alloc(1_000_000));
    await turns(30);
    assert.equal(wire.writeText('x'.repeat(LARGE_BYTES)), false);
    owner.call(() => wire.end());
    await turns(30);
    await breakOff(peer);
    await waitFor('the error', () => owner.errors.length > 0);
    await turns();
    assert.equal(owner.count('drain'), 0, owner.told.join());
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${way.name}: no call comes after a close right after a failed write`, async (t) => {
    const { owner, peer, wire } = await way.pair(t);
    wire.pause();
    await breakOff(peer);
    wire.writeText('x');
    owner.leave();
    await turns();
    assert.deepEqual([owner.told, owner.wrongCalls], [[], []]);
  });

  if (way.transport === 'TCP')
    test(`${way.name}: a peer's reset is reported once, as the last call`, async (t) => {
      const { owner, peer, wire } = await way.pair(t);
      peer.write('some');
      await waitFor('bytes', () => owner.text === 'some');
      let closedThen = false;
      owner.hooks.broken = () => {
        closedThen = wire.closed;
      };
      await breakOff(peer);
      await waitFor('the break', () => owner.count('broken') === 1);
      await turns();
      assert.deepEqual([owner.told, owner.wrongCalls, closedThen], [['broken'], [], true]);
      assert.equal((owner.errors[0] as NodeJS.ErrnoException).code, 'ECONNRESET');
      assert.deepEqual([wire.readable, wire.blocked], [false, false]);
      wire.writeText('x');
      wire.resume();
      await turns();
      assert.deepEqual(owner.told, ['broken']);
    });

  if (way.side === 'connecting' && way.survivesFailedWrite)
    test(`${way.name}: bytes that the peer sent before it disconnected are still read after a failed write`, async (t) => {
      const owner = new RecordingOwner([50]);
      const { peer, wire } = await way.pair(t, owner);
      wire.pause();
      const answer = `413 ${'too large '.repeat(100)}`;
      await new Promise((resolve) => peer.write(answer, resolve));
      await breakOff(peer);
      owner.call(() => wire.writeText('x'));
      await waitFor('the failed write', () => owner.count('write error') === 1);
      assert.deepEqual([wire.writeFailed, wire.closed, wire.readable, owner.text], [true, false, true, '']);
      owner.call(() => wire.resume());
      await waitFor('the end', () => owner.count('end') + owner.count('broken') > 0);
      assert.equal(owner.text, answer);
      await turns();
      assert.deepEqual([owner.count('write error'), owner.wrongCalls], [1, []]);
    });
}

for (const maker of MAKERS) {
  test(`${maker.name} wire: connecting to a port where nobody listens reports broken, and never open`, async (t) => {
    const server = createServer();
    await listen(t, server, 'TCP');
    const port = tcpPort(server);
    server.close();
    await once(server, 'close');
    const owner = new RecordingOwner();
    owner.wire = maker.connect({ host: '127.0.0.1', port }, owner);
    assert.deepEqual(owner.told, []);
    await waitFor('the error', () => owner.told.length > 0);
    await turns();
    assert.deepEqual(owner.told, ['broken']);
    assert.equal((owner.errors[0] as NodeJS.ErrnoException).code, 'ECONNREFUSED');
    assert.equal(owner.wire.closed, true);
  });

  test(`${maker.name} wire: a wire closed before it is open makes no call`, async (t) => {
    const server = createServer((socket) => socket.on('error', () => socket.destroy()).resume());
    await listen(t, server, 'TCP');
    for (const how of ['close', 'reset'] as const) {
      const owner = new RecordingOwner();
      owner.wire = maker.connect({ host: '127.0.0.1', port: tcpPort(server) }, owner);
      owner.leave(how);
      // When a later one has opened, the first would have opened too.
      const later = new RecordingOwner();
      later.wire = maker.connect({ host: '127.0.0.1', port: tcpPort(server) }, later);
      t.after(() => later.wire.close());
      await waitFor('the later one', () => later.count('connect') === 1);
      await turns();
      assert.deepEqual([owner.told, owner.wrongCalls, owner.wire.closed], [[], [], true]);
    }
  });
}
