/** What the owner of a stream may keep. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE } from '../../src/http2/frames.ts';
import { bodyOf, firstMismatch } from '../support/pattern.ts';
import { joinSessions, StreamOwner, sendAll, until, upload } from './session-scene.ts';

/** The stream keeps its piece. */
class Keeper extends StreamOwner {
  kept: Buffer | null = null;

  override onData(piece: Buffer): void {
    this.kept = piece;
    this.stream.pause();
    super.onData(piece);
  }
}

for (const size of [1024, 1025, 8_000, 16_375])
  test(`a piece of ${size} bytes, kept by pause(), keeps its bytes whatever else is read`, async () => {
    const scene = await joinSessions();
    const { client } = scene;
    const keepers: Keeper[] = [];
    for (let i = 0; i < 20; i++) {
      const { sender, reader } = await upload(scene);
      const keeper = new Keeper();
      keeper.stream = reader.stream;
      reader.stream.events = keeper;
      keepers.push(keeper);
      reader.stream.resume();
      sender.stream.write(bodyOf(i, size));
      await until('the piece', () => keeper.kept !== null);
    }
    const wanted = keepers.map(({ pieces }) => Buffer.from(pieces[0]!));
    const { sender, reader } = await upload(scene);
    reader.stream.resume();
    sendAll(sender, bodyOf(50, 3_000_000));
    await until('the end', () => reader.hasEnded);
    assert.equal(firstMismatch(reader.body, bodyOf(50, 3_000_000)), -1);
    for (const [i, { kept }] of keepers.entries()) assert.equal(firstMismatch(kept!, wanted[i]!), -1, `${i}`);
    assert.equal(client.closedBy, undefined);
  });

for (const end of ['our reset', 'the peer’s reset', 'discard', 'the end of the session'] as const)
  test(`memory that the owner keeps is used for nothing else after ${end}`, async () => {
    const scene = await joinSessions();
    const { sender, reader } = await upload(scene);
    const keeper = new Keeper();
    keeper.stream = reader.stream;
    reader.stream.events = keeper;
    reader.stream.resume();
    sender.stream.write(bodyOf(3, 9_000));
    await until('the piece', () => keeper.kept !== null);
    const wanted = Buffer.from(keeper.kept!);
    if (end === 'our reset') reader.stream.reset(CODE.CANCEL);
    else if (end === 'discard') reader.stream.discard();
    else if (end === 'the peer’s reset') sender.stream.reset(CODE.CANCEL);
    else scene.client.session.destroy(CODE.NO_ERROR);
    const hearing = end === 'our reset' ? sender : keeper;
    await until('the peer to hear of it', () => end === 'discard' || hearing.closedBy !== null);
    reader.stream.resume();
    const other = await joinSessions();
    const next = await upload(other);
    next.reader.stream.resume();
    sendAll(next.sender, bodyOf(50, 2_000_000));
    await until('the end', () => next.reader.hasEnded);
    assert.equal(firstMismatch(keeper.kept!, wanted), -1);
    assert.equal(keeper.log.filter((event) => event === 'data').length, 1);
  });
