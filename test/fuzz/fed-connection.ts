/**
 * A client's connection without a server: it is fed with bytes, and every request that it serves is read to its end and
 * answered, at once or in a later turn. Nothing waits for the event loop, so a connection takes some microseconds.
 */
import type { Downstream } from '../../src/contract/downstream.ts';
import type { KnownAddress } from '../../src/limit/caller/identity.ts';
import { Admission } from '../../src/proxy/admission.ts';
import type { UnparsedRequest } from '../../src/proxy/handler.ts';
import type { InboundConnection } from '../../src/worker/inbound/base-connection.ts';
import { LoneConnection } from '../support/lone-connection.ts';
import { takeAnswers } from './answers.ts';
import { FedRequest } from './fed-request.ts';
import { FedBuffers, FedWire, Turns } from './fed-wire.ts';
import { Random, seedOf } from './random.ts';
import { factsOfHead, type RequestFacts } from './request-facts.ts';

/** OwnRequest is what a request was for us. */
export interface OwnRequest {
  facts: RequestFacts;
  /** By which the proxy would refuse it (admission.ts); 0: it goes on. It is read all the same. */
  status: number;
  /** null: it was answered without its body, which was read into nothing. */
  body: string | null;
  trailers: string[];
  /** The body came to its end. */
  complete: boolean;
  /** Status that its broken body deserves; 0 for none. */
  invalid: number;
  /** Our answer was the last one; false without an answer. */
  closing: boolean;
}

export interface OwnRead {
  requests: OwnRequest[];
  /** Status of what was no request; 0: everything was one, or nothing. */
  refusal: number;
  /** What should never happen, however bad the bytes. */
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
 * feedConnection gives bytes to a new connection, one read or more up to each of the ends, and then a FIN.
 * @param ends in rising order, the last one the length
 * @param options seed: of what may show in the result; random: of what must not
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

/** singleEnds cut behind each byte. */
export function singleEnds(bytes: Buffer): number[] {
  return Array.from(bytes, (_, i) => i + 1);
}

/** No time passes for it. */
class Feed extends LoneConnection<FedWire> {
  readonly #seed: number;
  readonly #random: Random;
  readonly #turns: Turns;
  readonly #fed: FedRequest[] = [];
  readonly #found: OwnRead = { requests: [], refusal: 0, faults: [] };
  /** The two wires differ in when they ask for the memory of the next read: behind the last one, or just before it. */
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
    // One whose last answer had not left when the FIN came is closed by its deadline.
    if (!this.wire.closed && !this.wire.ended) faults.push('it is still open behind a FIN');
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
    if (!whole) faults.push(`answers with something before, between or behind: ${this.wire.text}`);
    const own = answers.filter(({ echo }) => echo < 0);
    if (own.length > (refusal === 0 ? 0 : 1)) faults.push('a refusal that nobody made, or two');
    if (own.length > 0 && answers.at(-1)?.echo !== -1) faults.push('an answer behind a refusal');
    const wanted = this.#fed.filter(({ answered }) => answered).length;
    if (answers.length - own.length !== wanted)
      faults.push(`${answers.length - own.length} of ${wanted} answers have left`);
    for (const [i, { echo, head }] of answers.entries()) {
      if (echo >= 0 && echo !== i) faults.push('answers out of order');
      const request = this.#found.requests[echo];
      if (request !== undefined) request.closing = head.includes('\r\nConnection: close\r\n');
    }
  }

  // What the connection asks of its server.

  serve(downstream: Downstream): void {
    const { head } = downstream;
    const facts = factsOfHead(head);
    const status = new Admission(head, PEER).guard(this.plan.limits)?.status ?? 0;
    const index = this.#found.requests.length;
    if (TOO_LARGE.includes(status)) {
      // Read in pieces, it never becomes a request at all.
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

  override refusalOf(connection: InboundConnection, failure: UnparsedRequest): string {
    if (this.#found.refusal !== 0) this.#found.faults.push('two refusals');
    this.#found.refusal = failure.status;
    return super.refusalOf(connection, failure);
  }
}
