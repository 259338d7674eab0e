/** Owners of streams that do anything at any time, in every event, and check what they are told. */

import { SMALL_PIECE_BYTES } from '../../src/contract/downstream.ts';
import { CODE } from '../../src/http2/frames.ts';
import { OK, requestOf, type Scene, StreamOwner, type TestHost } from '../http2/session-scene.ts';
import { bodyOf } from '../support/pattern.ts';
import { POISON } from '../support/poisoned-buffers.ts';
import type { Random } from './random.ts';

const BODY_MAX_BYTES = 150_000;
const PIECE_SIZES = [1, 100, 1_023, 1_024, 5_000, 16_375, 16_384, 40_000, 100_000];

/** Play is one run: two sessions and their actors. */
export class Play {
  readonly random: Random;
  readonly scene: Scene;
  readonly actors: Actor[] = [];
  readonly failures: string[] = [];
  /** From then on actors only bring their streams to an end. */
  isEnding = false;

  constructor(random: Random, scene: Scene) {
    this.random = random;
    this.scene = scene;
    scene.server.onStream = (stream, fields, ends) => {
      const actor = new Actor(this, scene.server, 2 * stream.id + 1);
      actor.stream = stream;
      stream.events = actor;
      actor.hasEnded = ends;
      actor.peerId = Number(fields[7]?.slice(1));
      this.actors.push(actor);
      actor.act();
    };
  }

  fail(text: string): void {
    if (this.failures.length < 5) this.failures.push(text);
  }

  open(): void {
    const { client } = this.scene;
    if (
      this.isEnding ||
      client.session.isDead ||
      client.goaways.length > 0 ||
      client.session.streamCount > 20
    )
      return;
    const actor = new Actor(this, client, 0);
    const ends = this.random.oneIn(4);
    const id = this.actors.length + 1;
    actor.peerId = -1;
    actor.hasSentHead = true;
    actor.stream = client.session.open(requestOf('POST', `/${id}`), ends, actor);
    actor.bodyId = 2 * actor.stream.id;
    this.actors.push(actor);
  }

  /** One thing that somebody does, outside of events. */
  step(): void {
    const { random, actors } = this;
    if (actors.length === 0 || random.oneIn(8)) this.open();
    else random.pick(actors.slice(-25)).act();
  }
}

export class Actor extends StreamOwner {
  readonly play: Play;
  readonly host: TestHost;
  bodyId: number;
  peerId = 0;
  hasSentHead = false;
  /** The peer may wait for a window for ever. */
  hasDiscarded = false;
  #sentBytes = 0;
  /** In use until onDrain. */
  #lent: Buffer[] = [];
  #isOff = false;
  #isPaused: boolean;
  #kept: { piece: Buffer; copy: Buffer } | null = null;
  #isKeptForever = false;

  constructor(play: Play, host: TestHost, bodyId: number) {
    super();
    this.play = play;
    this.host = host;
    this.bodyId = bodyId;
    this.#isPaused = bodyId > 0;
  }

  /** Grows while something happens. */
  get progress(): number {
    return this.byteCount + this.log.length + this.stream.framedBytes;
  }

  get isOver(): boolean {
    return this.#isOff || this.closedBy !== null;
  }

  // What it hears.

  override onFields(fields: string[], ends: boolean): void {
    this.#hear('fields');
    super.onFields(fields, ends);
    this.#react();
  }

  override onData(piece: Buffer): void {
    this.#hear('data');
    const wanted = bodyOf(
      this.stream.id * 2 + (this.bodyId % 2 === 0 ? 1 : 0),
      this.byteCount + piece.length,
    );
    if (!wanted.subarray(this.byteCount).equals(piece))
      this.play.fail(`wrong bytes in stream ${this.stream.id}`);
    if (this.#isPaused) this.play.fail('data while paused');
    this.byteCount += piece.length;
    this.#react();
    if (this.#isPaused && piece.length >= SMALL_PIECE_BYTES) this.#kept = { piece, copy: Buffer.from(piece) };
  }

  override onEnd(): void {
    this.#hear('end');
    if (this.hasEnded) this.play.fail('ended twice');
    super.onEnd();
    this.#react();
  }

  override onDrain(): void {
    this.#hear('drain');
    if (this.#lent.length === 0) this.play.fail('drained twice');
    for (const piece of this.#lent) piece.fill(POISON);
    this.#lent = [];
    if (this.play.isEnding) return;
    this.#react();
  }

  override onClosed(code: number): void {
    if (this.isOver) this.play.fail('closed twice, or after our reset');
    super.onClosed(code);
    this.#react();
  }

  #hear(event: string): void {
    if (this.#isOff) this.play.fail(`${event} after our reset`);
    if (this.closedBy !== null && (event === 'drain' || !this.stream.remoteEnded))
      this.play.fail(`${event} after the end`);
    this.checkKept();
  }

  checkKept(): void {
    if (this.#kept !== null && !this.#kept.piece.equals(this.#kept.copy))
      this.play.fail('kept memory was used');
  }

  // What it does.

  #react(): void {
    if (!this.play.isEnding && this.play.random.oneIn(3)) this.act();
  }

  act(): void {
    const { random, scene } = this.play;
    switch (random.below(24)) {
      case 0:
        if (random.oneIn(4)) this.reset();
        break;
      case 1:
      case 2:
        this.#isPaused = true;
        this.stream.pause();
        break;
      case 3:
      case 4:
      case 5:
      case 6:
        this.resume();
        break;
      case 7:
        this.end();
        break;
      case 8:
        this.#head(random.oneIn(3));
        break;
      case 9:
        if (!random.oneIn(8)) break;
        this.hasDiscarded = true;
        this.stream.discard();
        break;
      case 10:
        if (!random.oneIn(8)) break;
        this.hasDiscarded = true;
        this.stream.stopPeer();
        break;
      case 11:
        this.play.open();
        break;
      case 12:
        if (!this.host.session.isDead) this.host.session.ping();
        break;
      case 13:
        if (random.oneIn(150))
          this.host.session.destroy(random.pick([CODE.NO_ERROR, CODE.ENHANCE_YOUR_CALM]));
        else if (random.oneIn(60)) scene.server.session.goaway(CODE.NO_ERROR);
        break;
      default:
        this.#write();
    }
  }

  reset(): void {
    if (this.stream.isClosed) return;
    this.#isOff = true;
    this.#isKeptForever = true;
    this.stream.reset(this.play.random.below(12));
  }

  resume(): void {
    this.checkKept();
    // After the end the memory is the owner's, or left.
    if (!this.#isKeptForever && !this.isOver) this.#kept = null;
    this.#isPaused = false;
    this.stream.resume();
  }

  #head(isInterim: boolean): void {
    if (this.hasSentHead || this.stream.isClosed) return;
    if (!isInterim) this.hasSentHead = true;
    this.stream.sendFields(isInterim ? [':status', '103'] : OK, false);
  }

  #write(): void {
    if (!this.hasSentHead) this.#head(false);
    const { random } = this.play;
    const size = Math.min(random.pick(PIECE_SIZES), BODY_MAX_BYTES - this.#sentBytes);
    if (size <= 0 || this.stream.isClosed || this.stream.localEnded) return;
    const piece = Buffer.from(bodyOf(this.bodyId, this.#sentBytes + size).subarray(this.#sentBytes));
    this.#sentBytes += size;
    if (this.stream.write(piece)) piece.fill(POISON);
    else this.#lent.push(piece);
  }

  end(): void {
    if (!this.hasSentHead) this.#head(false);
    this.stream.end(this.play.random.oneIn(3) ? ['x-a', '1'] : []);
  }
}
