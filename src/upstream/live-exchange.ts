/** The handle that a sink holds on its request, valid for exactly one request while the connection goes on to others. */
import { LbError, toError } from '../contract/errors.ts';
import type { BodyBuffers } from '../http1/body-buffers.ts';
import type { ResponseSink, UpstreamExchange } from './exchange.ts';

/** What an exchange asks of its connection while it lasts. */
export interface ExchangeOwner {
  writeBody(chunk: Buffer): boolean;
  endBody(rawTrailers: string[]): void;
  resume(): void;
  abort(memoryIsFree: boolean): void;
}

/** Told of errors that sinks threw where no sink can be told. */
export type FaultListener = (error: Error) => void;

export class LiveExchange implements UpstreamExchange {
  readonly reused: boolean;
  readonly sink: ResponseSink;
  connected: boolean;

  readonly #buffers: BodyBuffers;
  readonly #onFault: FaultListener;
  #owner: ExchangeOwner | null;
  /** The buffer of a complete response whose last bytes are still on their way. */
  #held: Buffer<ArrayBuffer> | null = null;

  constructor(
    owner: ExchangeOwner,
    sink: ResponseSink,
    reused: boolean,
    shared: { buffers: BodyBuffers; onFault: FaultListener },
  ) {
    this.#owner = owner;
    this.sink = sink;
    this.reused = this.connected = reused;
    this.#buffers = shared.buffers;
    this.#onFault = shared.onFault;
  }

  /** Whether the connection still serves it. */
  get live(): boolean {
    return this.#owner !== null;
  }

  writeBody(chunk: Buffer): boolean {
    return this.#owner?.writeBody(chunk) ?? true;
  }

  endBody(rawTrailers: string[]): void {
    this.#owner?.endBody(rawTrailers);
  }

  resume(): void {
    this.#owner?.resume();
  }

  settled(): void {
    if (this.#held !== null) this.#buffers.give(this.#held);
    this.#held = null;
  }

  destroy({ memoryIsFree }: { memoryIsFree: boolean }): void {
    if (this.#owner !== null) this.#owner.abort(memoryIsFree);
    else if (memoryIsFree) this.settled();
    else this.#dropHeld();
  }

  #dropHeld(): void {
    if (this.#held !== null) this.#buffers.drop(this.#held);
    this.#held = null;
  }

  /** detach is called by the connection when it is done with this request, whatever the outcome. */
  detach(held: Buffer<ArrayBuffer> | null): void {
    this.#owner = null;
    this.#held = held;
  }

  /** finish tells the sink that the body is complete. */
  finish(rawTrailers: string[]): void {
    try {
      if (this.sink.onEnd(rawTrailers)) this.settled();
    } catch (thrown) {
      this.fault(thrown);
    }
  }

  /** fail ends it for the sink. */
  fail(error: LbError): void {
    try {
      this.sink.onError(error);
    } catch (thrown) {
      this.#onFault(toError(thrown));
    }
  }

  /** fault is for what a sink threw: its request ends as an internal error, the process goes on. */
  fault(thrown: unknown): void {
    this.#dropHeld();
    const cause = toError(thrown);
    this.#onFault(cause);
    this.fail(new LbError('internal_error', `response sink threw: ${cause.message}`, { cause }));
  }
}
