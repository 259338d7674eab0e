/** Reads and answers one request of a fed connection, in a random one of the orders that are possible in a proxy. */
import type { Downstream, DownstreamListener, ResponseStart } from '../../src/contract/downstream.ts';
import { SMALL_PIECE_BYTES } from '../../src/contract/downstream.ts';
import type { OwnRequest } from './fed-connection.ts';
import type { Turns } from './fed-wire.ts';
import type { Random } from './random.ts';

interface Options {
  index: number;
  random: Random;
  turns: Turns;
  /** Filled with what is read; absent: ignored. */
  request?: OwnRequest;
}

export class FedRequest implements DownstreamListener {
  readonly undeliveredBytes = 0;
  answered = false;
  readonly faults: string[] = [];
  readonly #downstream: Downstream;
  readonly #options: Options;
  readonly #parts: string[] = [];
  /** A piece that is still in use, and its index in #parts. */
  #held: { piece: Buffer; at: number } | null = null;
  /** onSent or onGone was called. */
  #over = false;
  #ended = false;

  constructor(downstream: Downstream, options: Options) {
    this.#downstream = downstream;
    this.#options = options;
  }

  /** @param isEarly answer before the body is read */
  begin(isEarly: boolean): void {
    const { head } = this.#downstream;
    const { request } = this.#options;
    if (request === undefined) return;
    if (head.hasBadFraming) this.#answer({ status: 400, closing: true });
    else if (!head.hasBody) {
      this.#ended = request.complete = true;
      request.body = '';
      this.#answer({ status: 200, closing: head.wantsUpgrade });
    } else if (isEarly) {
      this.#ended = true;
      this.#answer({ status: 200, closing: head.wantsUpgrade });
    } else {
      request.body = '';
      const { random, turns } = this.#options;
      if (random.oneIn(3)) turns.later(() => this.#readBody());
      else this.#readBody();
    }
  }

  #readBody(): void {
    this.#downstream.continueBody();
    this.#downstream.readBody();
  }

  onRequestBody(piece: Buffer): void {
    if (this.#ended || this.#over) this.faults.push('a piece after the end of its request');
    const { random, turns } = this.#options;
    const at = this.#parts.push('') - 1;
    const kind = random.below(10);
    if (kind === 0) {
      this.#downstream.pauseBody();
      turns.later(() => this.#resume());
      // Only a large piece may be kept until resumeBody.
      if (piece.length >= SMALL_PIECE_BYTES) {
        this.#takeHeld();
        this.#held = { piece, at };
        return;
      }
    }
    this.#parts[at] = piece.toString('latin1');
    if (kind === 1) {
      this.#downstream.pauseBody();
      this.#resume();
    } else if (kind === 2) this.#resume();
    else if (kind === 3) {
      turns.later(() => {
        this.#downstream.pauseBody();
        turns.later(() => this.#resume());
      });
    }
  }

  #resume(): void {
    this.#takeHeld();
    this.#downstream.resumeBody();
  }

  #takeHeld(): void {
    if (this.#held === null) return;
    this.#parts[this.#held.at] = this.#held.piece.toString('latin1');
    this.#held = null;
  }

  onRequestBodyEnd(trailers: string[]): void {
    if (this.#ended) this.faults.push('two ends of a body');
    this.#ended = true;
    const { request } = this.#options;
    if (request === undefined) return;
    request.trailers = trailers;
    request.complete = true;
    this.#answer({ status: 200, closing: this.#downstream.head.wantsUpgrade });
  }

  onRequestBodyInvalid(status: number): void {
    if (this.#ended) this.faults.push('a broken body after its end');
    this.#ended = true;
    if (this.#options.request !== undefined) this.#options.request.invalid = status;
    this.#answer({ status, closing: true });
  }

  #answer(kind: { status: number; closing: boolean }): void {
    const { random, turns } = this.#options;
    if (random.oneIn(2)) this.#write(kind);
    else turns.later(() => this.#write(kind));
  }

  #write({ status, closing }: { status: number; closing: boolean }): void {
    // The client has disconnected: nobody to answer.
    if (this.#over) return;
    this.answered = true;
    const { random, index } = this.#options;
    const lines = `X-Echo: ${index}\r\n`;
    const answer: ResponseStart = {
      status,
      reason: 'OK',
      lines,
      contentLength: 0,
      hasBody: false,
      closing,
    };
    if (this.#downstream.head.method === 'HEAD' || random.oneIn(3)) this.#downstream.complete(answer, '');
    else if (random.oneIn(2)) this.#downstream.complete({ ...answer, contentLength: 2, hasBody: true }, 'ok');
    else {
      this.#downstream.start({ ...answer, contentLength: 3, hasBody: true });
      this.#downstream.write(Buffer.from('ok\n'));
      this.#downstream.end([]);
    }
  }

  onFlushed(): void {
    this.#options.random.next();
  }

  onSlow(): void {
    // It does not matter to it.
  }

  onStalled(): void {
    this.faults.push('stalled');
  }

  onSent(): void {
    this.#becomeOver();
  }

  onGone(): void {
    this.#becomeOver();
  }

  #becomeOver(): void {
    if (this.#over) this.faults.push('over twice');
    this.#over = true;
  }

  /** finish is called after the end of the connection. */
  finish(): void {
    this.#takeHeld();
    if (!this.#over) this.faults.push('a request that is never over');
    const { request } = this.#options;
    if (request?.body === '') request.body = this.#parts.join('');
  }
}
