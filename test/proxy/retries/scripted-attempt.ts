/** What answers the attempts in random-ends.test.ts: anything, at any time. */
import assert from 'node:assert/strict';
import { type ErrorCode, LbError } from '../../../src/contract/errors.ts';
import { hasBody } from '../../../src/contract/request-head.ts';
import { processBodyBuffers } from '../../../src/memory/body-buffers.ts';
import { Exchange, type ExchangeOwner } from '../../../src/upstream/exchange.ts';
import {
  ResponseHead,
  type ResponseSink,
  type UpstreamRequest,
} from '../../../src/upstream/upstream-request.ts';
import type { Random } from '../../fuzz/random.ts';
import { bodyOf } from '../../support/pattern.ts';

const ERRORS: [code: ErrorCode, retryable: boolean][] = [
  ['connect_failed', true],
  ['connect_failed', false],
  ['overload', true],
  ['backend_busy', true],
  ['backend_busy', false],
  ['upstream_reset', true],
  ['upstream_reset', false],
  ['upstream_timeout', false],
  ['upstream_invalid', false],
];
const RETRY_AFTER = ['', '', 'Retry-After: 0\r\n', 'Retry-After: 1\r\n', 'Retry-After: 99\r\n'];
export const BODY_MAX_BYTES = 300_000;

/** ScriptedAttempt carries one exchange. It sees to it that it gets the body from its beginning, and nothing behind its end. */
export class ScriptedAttempt implements ExchangeOwner {
  readonly exchange: Exchange;
  readonly #request: UpstreamRequest;
  readonly #random: Random;
  readonly #open: Set<ScriptedAttempt>;
  #receivedBytes = 0;
  #hasEnded = false;
  #hasAnswered = false;
  #isBlocked = false;

  /** @param world open: attempts under way */
  constructor(
    request: UpstreamRequest,
    sink: ResponseSink,
    world: { random: Random; open: Set<ScriptedAttempt>; faults: unknown[] },
  ) {
    this.#request = request;
    this.#random = world.random;
    this.#open = world.open;
    const onFault = (error: Error): void => void world.faults.push(error);
    this.exchange = new Exchange(this, sink, this.#random.oneIn(2), { buffers: processBodyBuffers, onFault });
    this.#open.add(this);
    if (this.exchange.reused) this.#sendKept();
  }

  #sendKept(): void {
    const { kept } = this.#request;
    if (kept == null) return;
    if (kept.bytes.length > 0) this.#take(kept.bytes);
    kept.sent();
    this.#hasEnded = kept.ended;
  }

  #take(piece: Buffer): void {
    assert.equal(this.#hasEnded, false, 'a piece behind the end');
    const wanted = bodyOf(0, BODY_MAX_BYTES).subarray(this.#receivedBytes);
    this.#receivedBytes += piece.length;
    assert.ok(piece.equals(wanted.subarray(0, piece.length)), 'another body');
  }

  writeBody(piece: Buffer): boolean {
    this.#take(this.#request.kept?.add(piece) ?? piece);
    this.#isBlocked = this.#random.oneIn(4);
    return !this.#isBlocked;
  }

  endBody(rawTrailers: string[]): void {
    this.#request.kept?.end(rawTrailers);
    this.#hasEnded = true;
  }

  resume(): void {
    // It sends whenever it is its turn.
  }

  close({ memoryIsFree }: { memoryIsFree: boolean }): void {
    this.#finish();
    this.exchange.settled(memoryIsFree);
  }

  #finish(): void {
    this.#open.delete(this);
    this.exchange.detach(null);
  }

  #fail(): void {
    const [code, retryable] = this.#random.pick(ERRORS);
    this.#finish();
    this.exchange.fail(new LbError(code, 'as scripted', { retryable }));
  }

  /** step does something that a backend may do now. */
  step(): void {
    const { exchange } = this;
    const random = this.#random;
    if (random.oneIn(exchange.connected ? 10 : 3)) this.#fail();
    else if (!exchange.connected) {
      exchange.connected = true;
      this.#sendKept();
      if (hasBody(this.#request.bodyLength)) exchange.askForBody('onConnected');
    } else if (this.#isBlocked && random.oneIn(2)) {
      this.#isBlocked = false;
      exchange.askForBody('onRequestDrain');
    } else if (this.#hasAnswered) this.#goOn();
    else if (random.oneIn(10)) exchange.sink.onInformation(103, 'Link: a\r\n');
    // An early answer is rare.
    else if (this.#hasEnded || !hasBody(this.#request.bodyLength) || random.oneIn(5)) this.#answer();
  }

  #goOn(): void {
    if (this.#random.oneIn(2)) this.exchange.sink.onBody(Buffer.from('piece'));
    else {
      this.#finish();
      this.exchange.complete([]);
    }
  }

  #answer(): void {
    const random = this.#random;
    const head = new ResponseHead();
    head.status = random.pick([200, 200, 503, 503, 404]);
    head.lines = random.pick(RETRY_AFTER);
    head.hasBody = true;
    this.#hasAnswered = true;
    const isWhole = random.oneIn(2);
    if (isWhole) this.#finish();
    this.exchange.sink.onHead(head, isWhole ? 'body' : null);
  }
}
