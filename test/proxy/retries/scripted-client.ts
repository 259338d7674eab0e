/** What sends the requests in random-ends.test.ts: quickly, slowly, or not to the end. */
import assert from 'node:assert/strict';
import type { Downstream, DownstreamListener } from '../../../src/contract/downstream.ts';
import { CHUNKED_BODY, NO_BODY, RequestHead } from '../../../src/contract/request-head.ts';
import type { Random } from '../../fuzz/random.ts';
import { bodyOf } from '../../support/pattern.ts';
import { BODY_MAX_BYTES } from './scripted-attempt.ts';

const BODY_BYTES = [0, 0, 10, 3_000, 60_000, 70_000, BODY_MAX_BYTES];
const PIECE_BYTES = [1, 700, 5_000, 16_384, 65_536];

/** ScriptedClient is one request. It sees to it that it is answered once. */
export class ScriptedClient implements Downstream {
  readonly head = new RequestHead();
  readonly client = { address: '::1', scheme: 'http', certSubject: null, acceptedMs: 0, ends: {} } as const;
  readonly bodyIsHere = false;
  started = false;
  /** It has all of the answer, or is gone. */
  isOver = false;
  readonly #random: Random;
  readonly #bodyBytes: number;
  #listener: DownstreamListener | null = null;
  #mayRead = false;
  #sentBytes = 0;
  #hasEnded = false;
  /** Of the answer. */
  #mustFlush = false;
  #isWhole = false;

  constructor(random: Random) {
    this.#random = random;
    this.#bodyBytes = random.pick(BODY_BYTES);
    const length = random.oneIn(2) ? CHUNKED_BODY : this.#bodyBytes;
    const bodyLength = this.#bodyBytes === 0 ? NO_BODY : length;
    const method = random.pick(['GET', 'PUT', 'POST', 'HEAD']);
    Object.assign(this.head, { method, target: '/', host: 'a', hostCount: 1, bodyLength });
  }

  listen(listener: DownstreamListener): void {
    this.#listener = listener;
  }

  readBody(): void {
    this.#mayRead = true;
  }

  pauseBody(): void {
    this.#mayRead = false;
  }

  resumeBody(): void {
    this.#mayRead = true;
  }

  stopBody(): void {
    this.#hasEnded = true;
  }

  continueBody(): void {
    // It has not asked for it.
  }

  inform(): void {
    assert.equal(this.started, false);
  }

  start(): void {
    assert.equal(this.started, false, 'answered twice');
    this.started = true;
  }

  complete(): void {
    if (this.isOver) return;
    this.start();
    this.end();
  }

  write(): boolean {
    if (this.isOver) return true;
    assert.ok(this.started && !this.#isWhole);
    this.#mustFlush ||= this.#random.oneIn(3);
    return !this.#mustFlush;
  }

  end(): boolean {
    if (this.isOver) return true;
    this.#isWhole = true;
    if (this.#mustFlush || this.#random.oneIn(3)) return false;
    this.#sent();
    return true;
  }

  #sent(): void {
    this.isOver = true;
    this.#listener?.onSent();
  }

  switchProtocols(): never {
    throw new Error('no request asks for it');
  }

  abort(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#listener?.onGone();
  }

  /** step does something that a client may do now. */
  step(): void {
    const random = this.#random;
    if (this.isOver) return;
    if (random.oneIn(60)) this.abort();
    else if (this.#mustFlush && random.oneIn(20)) this.#listener?.onSlow();
    else if (this.#mustFlush && random.oneIn(3)) {
      this.#mustFlush = false;
      this.#listener?.onFlushed();
    } else if (this.#isWhole && !this.#mustFlush) this.#sent();
    else if (this.#mayRead && !this.#hasEnded) this.#send();
  }

  #send(): void {
    const byteCount = Math.min(this.#bodyBytes - this.#sentBytes, this.#random.pick(PIECE_BYTES));
    const piece = Buffer.from(
      bodyOf(0, BODY_MAX_BYTES).subarray(this.#sentBytes, this.#sentBytes + byteCount),
    );
    this.#sentBytes += byteCount;
    this.#listener?.onRequestBody(piece);
    // As the next read would.
    if (byteCount < 1024) piece.fill(0);
    if (this.#sentBytes < this.#bodyBytes || this.#hasEnded || this.isOver) return;
    this.#hasEnded = true;
    this.#listener?.onRequestBodyEnd([]);
  }
}
