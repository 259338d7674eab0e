/**
 * One TCP connection to a backend and the request that it serves, if any.
 *
 * CONNECTING  the request waits for the handshake. Out: AWAITING, or DEAD with connect_failed or overload.
 * AWAITING    the request is being sent or sent, no final head yet. Out: STREAMING, IDLE, DEAD.
 * STREAMING   the head went to the sink, body bytes follow in a buffer of this connection's own. Out: IDLE, DEAD.
 * IDLE        parked in the pool. Anything that arrives, a byte, a FIN, an error, means DEAD: it cannot be an answer
 *             (response-queue poisoning, CVE-2026-48931). Out: AWAITING, DEAD.
 * DEAD        wire closed, exchange let go. Final.
 *
 * There is at most one wait at a time, so one deadline serves them all; what it means follows from the state. Nothing is
 * allocated per request but the exchange and the head.
 */
import { LbError } from '../contract/errors.ts';
import { NO_BODY } from '../contract/request-head.ts';
import type { BodyBuffers } from '../http1/body-buffers.ts';
import { Deadline, type DeadlineTimer } from '../infra/deadline-timer.ts';
import type { ConnectEvents, Wire, WireMaker } from '../infra/wire/wire.ts';
import { WriteWatch } from '../infra/wire/write-watch.ts';
import { connectErrorOf } from './connect-errors.ts';
import type { ResponseSink, UpstreamExchange, UpstreamRequest } from './exchange.ts';
import { type ExchangeOwner, type FaultListener, LiveExchange } from './live-exchange.ts';
import { RequestSender, type SenderEvents } from './request-sender.ts';
import {
  READ_BODY,
  READ_INVALID,
  READ_PAUSED,
  type ReaderEvents,
  ResponseReader,
} from './response-reader.ts';

const CONNECTING = 0;
const AWAITING = 1;
const STREAMING = 2;
const IDLE = 3;
const DEAD = 4;

/** After a failed write the peer's last words are in the receive buffer already, or never come. */
const LAST_WORDS_MS = 1_000;
/** A hint of N seconds is trusted for N - 1: the request must be there before the backend's timer fires. */
const KEEP_ALIVE_MARGIN_SEC = 1;

/** What every connection of a pool has in common. */
export interface ConnectionSettings {
  /** Name or address; a name is resolved at each connect. */
  host: string;
  port: number;
  /** From the first SYN to an open connection. */
  connectMs: number;
  /** From the last byte of the request to the end of the final response head. */
  responseMs: number;
  /** Silence allowed inside a response body, and while the backend does not read the request. */
  idleMs: number;
  /** How long one is kept parked, unless the backend's `Keep-Alive: timeout=` says less. */
  parkMs: number;
  timer: DeadlineTimer;
  /** One per worker; the budget of large buffers lies in it. */
  buffers: BodyBuffers;
  wires: WireMaker;
  /** Hears how long each new connection took to open. */
  onConnected?: (connectMs: number) => void;
  /** Called when a sink throws; the exchange ends as internal_error all the same. */
  onFault: FaultListener;
}

/** The pool, as its connections see it. */
export interface ConnectionHost {
  /** Takes a connection that may serve again; false: it shall close. */
  park(connection: Connection): boolean;
  /** It is dead: never hand it out. */
  remove(connection: Connection): void;
  /** It is dead, and counts no longer. */
  closed(): void;
}

export class Connection implements ConnectEvents, ExchangeOwner, SenderEvents, ReaderEvents {
  readonly #settings: ConnectionSettings;
  readonly #host: ConnectionHost;
  readonly #wire: Wire;
  readonly #sender: RequestSender;
  readonly #reader: ResponseReader;
  readonly #deadline: Deadline;
  readonly #startedMs: number;

  #state = CONNECTING;
  #exchange: LiveExchange | null = null;
  /** The request that waits for the handshake. */
  #pending: UpstreamRequest | null = null;
  #writeWatch: WriteWatch | null = null;
  #hasBody = false;
  #writeError: Error | null = null;
  /** A body on GET or HEAD: backends exist that do not read it and take it for the next request (CL.0). */
  #oddBody = false;

  constructor(settings: ConnectionSettings, host: ConnectionHost) {
    this.#settings = settings;
    this.#host = host;
    const { buffers } = settings;
    this.#reader = new ResponseReader(buffers, this);
    this.#deadline = new Deadline(() => this.#onDue());
    this.#startedMs = settings.timer.monotonicMs();
    settings.timer.arm(this.#deadline, settings.connectMs);
    this.#wire = settings.wires.connect({ host: settings.host, port: settings.port }, this);
    this.#sender = new RequestSender(this.#wire, this);
  }

  /** start serves a request on a new connection, or on a parked one that the pool has just taken from its list. */
  start(request: UpstreamRequest, sink: ResponseSink): UpstreamExchange {
    const exchange = new LiveExchange(this, sink, this.#state === IDLE, this.#settings);
    this.#exchange = exchange;
    this.#hasBody = request.bodyLength !== NO_BODY && request.bodyLength !== 0;
    this.#oddBody = this.#hasBody && isReadMethod(request.method);
    if (this.#state === CONNECTING) {
      this.#pending = request;
      return exchange;
    }
    this.#send(request);
    return exchange;
  }

  #send(request: UpstreamRequest): void {
    this.#state = AWAITING;
    this.#settings.timer.disarm(this.#deadline);
    this.#reader.start(request.method);
    this.#sender.begin(request);
  }

  onConnect(): void {
    const request = this.#pending;
    const exchange = this.#exchange;
    this.#pending = null;
    if (request === null || exchange === null) return;
    exchange.connected = true;
    const { timer, onConnected } = this.#settings;
    onConnected?.(timer.monotonicMs() - this.#startedMs);
    this.#send(request);
    if (!this.#hasBody) return;
    try {
      exchange.sink.onConnected();
    } catch (thrown) {
      this.#onSinkFault(exchange, thrown);
    }
  }

  // The request side.

  writeBody(chunk: Buffer): boolean {
    if (this.#state === CONNECTING) {
      this.#fail(new LbError('internal_error', 'request body before onConnected'));
      return true;
    }
    // An echo that waits for the client is not a silent backend.
    if (this.#state === STREAMING && !this.#reader.paused) this.#armIdle();
    try {
      return this.#sender.write(chunk);
    } catch (thrown) {
      this.#failBody(thrown);
      return true;
    }
  }

  endBody(rawTrailers: string[]): void {
    try {
      this.#sender.end(rawTrailers);
    } catch (thrown) {
      this.#failBody(thrown);
    }
  }

  #failBody(thrown: unknown): void {
    this.#fail(
      thrown instanceof LbError
        ? thrown
        : new LbError('internal_error', 'request body failed', { cause: thrown }),
    );
  }

  onRequestSent(): void {
    if (this.#state !== AWAITING) return;
    this.#settings.timer.arm(
      this.#deadline,
      this.#wire.writeFailed ? LAST_WORDS_MS : this.#settings.responseMs,
    );
  }

  onBlocked(): void {
    if (this.#state !== AWAITING) return;
    const { timer, idleMs } = this.#settings;
    this.#writeWatch ??= new WriteWatch({
      wire: this.#wire,
      timer,
      idleMs: () => idleMs,
      onStalled: () => this.#fail(new LbError('upstream_timeout', 'backend stopped reading the request')),
    });
    this.#writeWatch.blocked();
  }

  onUnblocked(): void {
    this.#writeWatch?.rest();
  }

  onWritable(): void {
    const exchange = this.#exchange;
    if (exchange === null) return;
    try {
      exchange.sink.onRequestDrain();
    } catch (thrown) {
      this.#onSinkFault(exchange, thrown);
    }
  }

  onDrain(): void {
    this.#sender.drained();
  }

  onWriteError(error: Error): void {
    this.#writeError = error;
    if (this.#state !== AWAITING) return;
    this.#settings.timer.arm(this.#deadline, LAST_WORDS_MS);
  }

  // The response side.

  nextBuffer(): Buffer {
    return this.#reader.nextBuffer();
  }

  onRead(byteCount: number): void {
    const exchange = this.#exchange;
    if (this.#state === IDLE) this.#kill();
    if (exchange === null) return;
    try {
      this.#onResult(this.#reader.read(exchange, byteCount));
    } catch (thrown) {
      this.#onSinkFault(exchange, thrown);
    } finally {
      this.#settings.buffers.afterRead();
    }
  }

  #onResult(result: number): void {
    if (result === READ_BODY) this.#armIdle();
    else if (result === READ_PAUSED) this.onPaused();
    else if (result === READ_INVALID) {
      this.#fail(new LbError('upstream_invalid', `invalid response: ${this.#reader.problem}`));
    }
  }

  onFinalHead(): void {
    this.#state = STREAMING;
    // From here on the response alone is judged; what is left of the request is sent as it goes.
    this.onUnblocked();
  }

  /** The sink has to pass on what it got first. */
  onPaused(): void {
    this.#settings.timer.disarm(this.#deadline);
    this.#wire.pause();
  }

  /** Silence in the body is counted from now on. */
  #armIdle(): void {
    this.#settings.timer.arm(this.#deadline, this.#settings.idleMs);
  }

  resume(): void {
    if (!this.#reader.resume()) return;
    this.#armIdle();
    this.#wire.resume();
  }

  onEnd(): void {
    const exchange = this.#exchange;
    if (exchange === null) {
      this.#kill();
      return;
    }
    if (this.#reader.endOfInput(exchange)) return;
    this.#reset('backend closed the connection before the response was complete', null);
  }

  /** Lets the exchange go and parks or closes the connection; only then is the sink told. */
  onComplete(exchange: LiveExchange, leftoverBytes: number): void {
    const keepMs = leftoverBytes === 0 ? this.#keepMs() : 0;
    this.#exchange = null;
    exchange.detach(this.#reader.release());
    this.#sender.stop();
    if (keepMs <= 0 || !this.#host.park(this)) {
      this.#kill();
      return;
    }
    this.#state = IDLE;
    this.#settings.timer.arm(this.#deadline, keepMs);
  }

  /** How long this connection may wait for its next request; 0: it may not. */
  #keepMs(): number {
    const { persistent, keepAliveSec } = this.#reader.parser;
    if (!persistent || !this.#sender.finished || this.#oddBody) return 0;
    if (this.#wire.writeFailed || this.#wire.blocked) return 0;
    const { parkMs } = this.#settings;
    return keepAliveSec < 0 ? parkMs : Math.min(parkMs, (keepAliveSec - KEEP_ALIVE_MARGIN_SEC) * 1000);
  }

  /** Whether a parked connection still looks open; the pool asks before it hands one out. */
  get readable(): boolean {
    return this.#wire.readable;
  }

  // Ends.

  /** abort is the sink's: it hears nothing more. */
  abort(memoryIsFree: boolean): void {
    this.#kill(memoryIsFree);
  }

  /** close is the pool's, for a parked connection. */
  close(): void {
    this.#kill();
  }

  #onDue(): void {
    const { connectMs, responseMs, idleMs } = this.#settings;
    switch (this.#state) {
      case CONNECTING:
        this.#fail(new LbError('connect_failed', `not connected within ${connectMs} ms`));
        break;
      case AWAITING:
        if (this.#wire.writeFailed) this.#reset('request could not be sent', this.#writeError);
        else this.#fail(new LbError('upstream_timeout', `no response head within ${responseMs} ms`));
        break;
      case STREAMING:
        this.#fail(new LbError('upstream_timeout', `response body silent for ${idleMs} ms`));
        break;
      case IDLE:
        this.#kill();
        break;
    }
  }

  onBroken(error: Error): void {
    if (this.#state === CONNECTING) this.#fail(connectErrorOf(error));
    else this.#reset(`connection failed: ${error.message}`, error);
  }

  /** Retryable only where the backend may not have seen the request: a parked connection that it was closing (B10). */
  #reset(message: string, cause: Error | null): void {
    const retryable = !this.#reader.answered && this.#exchange !== null && this.#exchange.reused;
    this.#fail(new LbError('upstream_reset', message, { cause: cause ?? undefined, retryable }));
  }

  #fail(error: LbError): void {
    const exchange = this.#exchange;
    this.#kill();
    exchange?.fail(error);
  }

  #onSinkFault(exchange: LiveExchange, thrown: unknown): void {
    // The connection may have been parked, or have begun another request: those go on.
    if (this.#exchange === exchange) this.#kill();
    exchange.fault(thrown);
  }

  /** @param memoryIsFree whether nobody reads any more from what the sink was handed */
  #kill(memoryIsFree = false): void {
    if (this.#state === DEAD) return;
    const parked = this.#state === IDLE;
    this.#state = DEAD;
    this.#settings.timer.forget(this.#deadline);
    this.#exchange?.detach(null);
    this.#exchange = null;
    this.#pending = null;
    this.#sender.stop();
    this.#writeWatch?.forget();
    if (parked) this.#host.remove(this);
    this.#wire.close();
    const own = this.#reader.release();
    // A write to the client may still read from it.
    if (own !== null && memoryIsFree) this.#settings.buffers.give(own);
    else if (own !== null) this.#settings.buffers.drop(own);
    this.#host.closed();
  }
}

function isReadMethod(method: string): boolean {
  return method === 'GET' || method === 'HEAD';
}
