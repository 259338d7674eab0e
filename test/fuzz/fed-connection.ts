/**
 * A client's connection that is fed with bytes. Every request on it is read to its end and answered, at once or in a later
 * turn. Nothing waits for the event loop, so one connection takes microseconds.
 */
import type { Downstream } from '../../src/contract/downstream.ts';
import type { KnownAddress } from '../../src/limit/caller/identity.ts';
import { Admission } from '../../src/proxy/admission.ts';
import type { UnparsedRequest } from '../../src/proxy/handler.ts';
import type { BaseConnection } from '../../src/worker/inbound/base-connection.ts';
import { LoneConnection } from '../support/lone-connection.ts';
import { takeAnswers } from './answers.ts';
import { FedRequest } from './fed-request.ts';
import { FedBuffers, FedWire, Turns } from './fed-wire.ts';
import { Random, seedOf } from './random.ts';
import { factsOfHead, type RequestFacts } from './request-facts.ts';

/** OwnRequest is a request as our connection read it. */
export interface OwnRequest {
  facts: RequestFacts;
  /** Status by which the proxy would refuse it (admission.ts); 0: forwarded. It is read in both cases. */
  status: number;
  /** null: it was answered at once and the body was discarded. */
  body: string | null;
  trailers: string[];
  /** The body is complete. */
  complete: boolean;
  /** Status for a malformed body; 0: not malformed. */
  invalid: number;
  /** The answer ended the connection; false without an answer. */
  closing: boolean;
}

export interface OwnRead {
  requests: OwnRequest[];
  /** Status of a refusal of bytes that are no request; 0: none. */
  refusal: number;
  /** What must never happen, whatever the bytes. */
  faults: string[];
}

const PEER: KnownAddress = {
  address: '192.0.2.1',
  grouped: '192.0.2.1',
  isTrusted: false,
  caller: null,
  keyed: null,
  generation: -1,
};
const TOO_LARGE: readonly number[] = [414, 431];
const buffers = new FedBuffers();

/**
 * feedConnection feeds bytes to a new connection, with at least one read up to each of `ends`, and then a FIN.
 * @param ends ascending; the last is the number of bytes
 * @param options seed: for choices that may change the result; random: for choices that must not
 */
export function feedConnection(
  bytes: Buffer,
  ends: readonly number[],
  options: { seed: number; random: Random },
): OwnRead {
  const feed = new Feed(options);
  let from = 0;
  for (const end of ends) {
    feed.read(bytes, from, end);
    from = end;
  }
  return feed.finish();
}

/** singleEnds splits after each byte. */
export function singleEnds(bytes: Buffer): number[] {
  return Array.from(bytes, (_, i) => i + 1);
}

/** Its clock stands still. */
class Feed extends LoneConnection<FedWire> {
  readonly #seed: number;
  readonly #random: Random;
  readonly #turns: Turns;
  readonly #fed: FedRequest[] = [];
  readonly #found: OwnRead = { requests: [], refusal: 0, faults: [] };
  /** The two wires ask for the memory of the next read at different times: after the previous read, or just before the next. */
  readonly #asksEarly: boolean;
  #memory: Buffer | null = null;

  constructor({ seed, random }: { seed: number; random: Random }) {
    const turns = new Turns(random);
    super(new FedWire(random, turns), buffers);
    this.#seed = seed;
    this.#random = random;
    this.#turns = turns;
    this.#asksEarly = random.oneIn(2);
    if (this.#asksEarly) this.#memory = this.connection.nextBuffer();
  }

  read(bytes: Buffer, from: number, to: number): void {
    for (let at = from; at < to; ) {
      while (this.#random.oneIn(3) && this.#turns.turn());
      while (this.wire.paused && !this.wire.closed && this.#turns.turn());
      if (this.wire.closed) return;
      if (this.wire.paused) {
        this.#found.faults.push('it is never read again');
        return;
      }
      const memory = this.#memory ?? this.connection.nextBuffer();
      const count = buffers.fill(memory, bytes, at, to);
      at += count;
      this.connection.onRead(count);
      this.#memory = this.#asksEarly && !this.wire.closed ? this.connection.nextBuffer() : null;
    }
  }

  finish(): OwnRead {
    while (this.#turns.turn());
    this.wire.finished = true;
    if (!this.wire.closed) this.connection.onEnd();
    while (this.#turns.turn());
    const { faults, requests } = this.#found;
    // If its last answer was not sent when the FIN came, the deadline closes it.
    if (!this.wire.closed && !this.wire.ended) faults.push('it is still open after a FIN');
    this.connection.destroy();
    if (this.closedCount !== 1) faults.push(`it was closed ${this.closedCount} times`);
    for (const request of this.#fed) {
      request.finish();
      faults.push(...request.faults);
    }
    if (this.timer.size !== 0) faults.push('the timer has not forgotten it');
    this.#checkAnswers();
    return { ...this.#found, requests };
  }

  #checkAnswers(): void {
    const { answers, whole } = takeAnswers(this.wire.text);
    const { faults, refusal } = this.#found;
    if (!whole) faults.push(`bytes before, between or after the answers: ${this.wire.text}`);
    const own = answers.filter(({ echo }) => echo < 0);
    if (own.length > (refusal === 0 ? 0 : 1)) faults.push('a refusal that nobody made, or two');
    if (own.length > 0 && answers.at(-1)?.echo !== -1) faults.push('an answer after a refusal');
    const wanted = this.#fed.filter(({ answered }) => answered).length;
    if (answers.length - own.length !== wanted)
      faults.push(`${answers.length - own.length} of ${wanted} answers have left`);
    for (const [i, { echo, head }] of answers.entries()) {
      if (echo >= 0 && echo !== i) faults.push('answers out of order');
      const request = this.#found.requests[echo];
      if (request !== undefined) request.closing = head.includes('\r\nConnection: close\r\n');
    }
  }

  // The owner of the connection.

  serve(downstream: Downstream): void {
    const { head } = downstream;
    const facts = factsOfHead(head);
    const status = new Admission(head, PEER, 'http').guard(this.plan.limits)?.status ?? 0;
    const index = this.#found.requests.length;
    if (TOO_LARGE.includes(status)) {
      // In pieces, it is refused before it becomes a request.
      this.#found.refusal = status;
      const answer = { status, reason: 'No', lines: '', contentLength: 0, hasBody: false, closing: true };
      downstream.listen(new FedRequest(downstream, { index, random: this.#random, turns: this.#turns }));
      downstream.complete(answer, '');
      return;
    }
    const request: OwnRequest = {
      facts,
      status,
      body: null,
      trailers: [],
      complete: false,
      invalid: 0,
      closing: false,
    };
    this.#found.requests.push(request);
    const isEarly = new Random(seedOf(this.#seed, index)).oneIn(8);
    const fed = new FedRequest(downstream, { index, random: this.#random, turns: this.#turns, request });
    this.#fed.push(fed);
    downstream.listen(fed);
    fed.begin(isEarly);
  }

  override onOverload(): void {
    this.#found.faults.push('overload');
  }

  override refusalOf(connection: BaseConnection, failure: UnparsedRequest): string {
    if (this.#found.refusal !== 0) this.#found.faults.push('two refusals');
    this.#found.refusal = failure.status;
    return super.refusalOf(connection, failure);
  }
}
