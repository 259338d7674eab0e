/**
 * One TCP connection to a backend, and the request that it serves, if any.
 *
 * State       entered by     what it means
 * CONNECTING  (constructor)  the first request waits for the handshake.
 * AWAITING    #send          the request is being sent or is sent; its final response head has not come.
 * STREAMING   onFinalHead    the sink has the head; the body is read into memory of this connection's own.
 * PARKED      onComplete     in the pool, without a request. Whatever arrives (a byte, a FIN, an error) is not an answer, and ends
 *                            the connection (response-queue poisoning, CVE-2026-48931).
 * LEAVING     onComplete     without a request: the backend announced the end, and has LEAVING_MS to close first.
 * DEAD        #end, #switch  the wire is closed or belongs to a tunnel, the exchange has ended. Final.
 *
 * The pool takes a PARKED connection from its list and sends the next request (AWAITING). Any state ends in DEAD. Whoever closes
 * first by a FIN keeps the port for a minute, so Sluice does that only in PARKED and after a complete upload; else it resets.
 * There is at most one wait at a time, so one deadline serves all states (#onDue).
 */
import { LbError } from '../contract/errors.ts';
import { hasBody } from '../contract/request-head.ts';
import type { Wire } from '../contract/wire.ts';
import { Deadline } from '../infra/deadline-timer.ts';
import { proxyHeader } from '../infra/proxy-protocol/proxy-header.ts';
import type { ConnectEvents } from '../infra/wire/wire-maker.ts';
import { WriteWatch } from '../infra/wire/write-watch.ts';
import { type ConnectionSettings, DEFAULT_PARK_MS } from './connection-settings.ts';
import { Exchange, type ExchangeOwner } from './exchange.ts';
import {
  bodyFailure,
  connectError,
  invalidResponse,
  noHead,
  notConnected,
  silence,
  unreadRequest,
} from './failures.ts';
import type { KeptBody } from './kept-body.ts';
import { RequestSender, type SenderEvents } from './request-sender.ts';
import {
  READ_BODY,
  READ_INVALID,
  READ_PAUSED,
  READ_SWITCHED,
  type ReaderEvents,
  ResponseReader,
} from './response-reader.ts';
import type { ResponseSink, UpstreamRequest } from './upstream-request.ts';

const CONNECTING = 0;
const AWAITING = 1;
const STREAMING = 2;
const PARKED = 3;
const LEAVING = 4;
const DEAD = 5;

/** When a write fails, the backend may have sent an answer before it closed. It has this long to arrive. */
const LAST_WORDS_MS = 1_000;
/** A backend that announced the end of a connection (`Connection: close`, HTTP/1.0) has this long to close it. */
const LEAVING_MS = 1_000;
/** Of `Keep-Alive: timeout=N`, N - 1 seconds are used: a request must arrive before the backend closes. */
const KEEP_ALIVE_MARGIN_SEC = 1;

/** ConnectionHost is what a connection needs of its pool. */
export interface ConnectionHost {
  /** Takes a connection that may serve again; false: it must close. */
  park(connection: Connection): boolean;
  /** The connection is closed, parked or not. */
  onClosed(connection: Connection): void;
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
  #exchange: Exchange | null = null;
  /** The request that waits for the handshake. */
  #pending: UpstreamRequest | null = null;
  #writeWatch: WriteWatch | null = null;
  #writeError: Error | null = null;
  #hasBody = false;
  /** Of the request that is being sent, where it may be sent twice. */
  #kept: KeptBody | null = null;
  /** A GET or HEAD with a body: some backends do not read it, and take it for the next request (CL.0). */
  #oddBody = false;

  /** @param first the request that start() gets */
  constructor(settings: ConnectionSettings, host: ConnectionHost, first: UpstreamRequest) {
    this.#settings = settings;
    this.#host = host;
    this.#reader = new ResponseReader(settings.buffers, this);
    this.#deadline = new Deadline(() => this.#onDue());
    this.#startedMs = settings.timer.monotonicMs();
    this.#arm(settings.connectMs);
    const { proxyProtocol: version = 'off' } = settings;
    const target =
      version === 'off' ? settings : { ...settings, proxyHeader: proxyHeader(version, first.ends ?? null) };
    this.#wire = settings.wires.connect(target, this);
    this.#sender = new RequestSender(this.#wire, this, version !== 'off');
  }

  /** start serves a request: the first one of a new connection, or the next one of a parked connection. */
  start(request: UpstreamRequest, sink: ResponseSink): Exchange {
    const exchange = new Exchange(this, sink, this.#state === PARKED, this.#settings);
    this.#exchange = exchange;
    if (this.#state === CONNECTING) this.#pending = request;
    else this.#send(request);
    return exchange;
  }

  #send(request: UpstreamRequest): void {
    this.#state = AWAITING;
    this.#hasBody = hasBody(request.bodyLength);
    this.#oddBody = this.#hasBody && (request.method === 'GET' || request.method === 'HEAD');
    this.#settings.timer.disarm(this.#deadline);
    this.#reader.start(request.method, request.upgrade !== '');
    this.#sender.begin(request);
    this.#kept = request.kept ?? null;
    if (this.#kept !== null) this.#sendAgain(this.#kept);
  }

  /** Sends what an earlier attempt had taken. */
  #sendAgain(kept: KeptBody): void {
    if (kept.bytes.length > 0) this.#sender.write(kept.bytes);
    kept.sent();
    if (kept.ended) this.#sender.end(kept.trailers);
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
    if (this.#hasBody) exchange.askForBody('onConnected');
  }

  #arm(delayMs: number): void {
    this.#settings.timer.arm(this.#deadline, delayMs);
  }

  // The request.

  writeBody(chunk: Buffer): boolean {
    // A backend that answers while the client still sends (an echo) is silent only from the client's last bytes on.
    if (this.#state === STREAMING && !this.#reader.paused) this.#arm(this.#settings.idleMs);
    try {
      return this.#sender.write(this.#kept === null ? chunk : this.#kept.add(chunk));
    } catch (thrown) {
      this.#fail(bodyFailure(thrown));
      return true;
    }
  }

  endBody(rawTrailers: string[]): void {
    this.#kept?.end(rawTrailers);
    try {
      this.#sender.end(rawTrailers);
    } catch (thrown) {
      this.#fail(bodyFailure(thrown));
    }
  }

  onRequestSent(): void {
    if (this.#state === AWAITING)
      this.#arm(this.#wire.writeFailed ? LAST_WORDS_MS : this.#settings.responseMs);
  }

  onBlocked(): void {
    if (this.#state !== AWAITING) return;
    const { timer, idleMs } = this.#settings;
    this.#writeWatch ??= new WriteWatch({
      wire: this.#wire,
      timer,
      idleMs: () => idleMs,
      onStalled: () => this.#fail(unreadRequest()),
    });
    this.#writeWatch.start();
  }

  onUnblocked(): void {
    this.#writeWatch?.stop();
  }

  onWritable(): void {
    this.#exchange?.askForBody('onRequestDrain');
  }

  onDrain(): void {
    this.#sender.drained();
  }

  onWriteError(error: Error): void {
    this.#writeError = error;
    if (this.#state === AWAITING) this.#arm(LAST_WORDS_MS);
  }

  // The response.

  nextBuffer(): Buffer {
    return this.#reader.nextBuffer();
  }

  onRead(byteCount: number): void {
    const exchange = this.#exchange;
    if (exchange === null) {
      this.#end({ byReset: true });
      return;
    }
    try {
      const result = this.#reader.read(exchange, byteCount);
      if (result === READ_SWITCHED) this.#switch(exchange, byteCount);
      else this.#onResult(result);
    } catch (thrown) {
      exchange.fault(thrown);
    } finally {
      this.#settings.buffers.afterRead();
    }
  }

  #onResult(result: number): void {
    if (result === READ_BODY) this.#arm(this.#settings.idleMs);
    else if (result === READ_PAUSED) this.onPaused();
    else if (result === READ_INVALID) {
      const { problem, body } = this.#reader.parser;
      this.#fail(invalidResponse(problem || body.problem));
    }
  }

  /** The backend has switched protocols: the wire goes to the sink, and the pool forgets this connection. */
  #switch(exchange: Exchange, byteCount: number): void {
    const { head, at } = this.#reader.parser;
    const wire = this.#wire;
    this.#retire();
    this.#reader.finish();
    this.#host.onClosed(this);
    try {
      exchange.sink.onSwitch(head, wire, this.#settings.buffers.shared.subarray(at, byteCount));
    } catch (thrown) {
      wire.reset();
      throw thrown;
    }
  }

  onFinalHead(): void {
    this.#state = STREAMING;
    // From here on the deadlines watch the response; the rest of the request leaves when it can.
    this.onUnblocked();
  }

  /** The sink must first pass on what it was given. The backend is not silent meanwhile: we do not read. */
  onPaused(): void {
    this.#settings.timer.disarm(this.#deadline);
    this.#wire.pause();
  }

  resume(): void {
    if (!this.#reader.resume()) return;
    this.#arm(this.#settings.idleMs);
    this.#wire.resume();
  }

  onEnd(): void {
    const exchange = this.#exchange;
    if (exchange === null) this.#end({ byReset: false });
    else if (!this.#reader.endOfInput(exchange)) {
      this.#failLost('backend closed the connection before the response was complete', null);
    }
  }

  /** The response is complete. The connection is parked or leaves before the sink is told, which may start the next request. */
  onComplete(exchange: Exchange, leftoverBytes: number): void {
    const isQuiet = leftoverBytes === 0 && !this.#reader.parser.mayOverrun && !this.#oddBody;
    // Neither side can still be sending a part of the exchange.
    const isClean = isQuiet && this.#sender.finished && !this.#wire.writeFailed;
    const keepMs = isClean ? this.#keepMs() : 0;
    this.#exchange = this.#kept = null;
    exchange.detach(this.#reader.finish());
    this.#sender.abandon();
    if (!isClean) this.#end({ byReset: true });
    else if (keepMs > 0 && this.#host.park(this)) this.#waitAs(PARKED, keepMs);
    else if (!this.#reader.parser.persistent && this.#wire.readable) this.#waitAs(LEAVING, LEAVING_MS);
    else this.#leave();
  }

  #waitAs(state: number, forMs: number): void {
    this.#state = state;
    this.#arm(forMs);
  }

  /** How long this connection may wait for its next request; 0: it must close. */
  #keepMs(): number {
    const { persistent, keepAliveSec } = this.#reader.parser;
    if (!persistent) return 0;
    const { parkMs = DEFAULT_PARK_MS } = this.#settings;
    return keepAliveSec < 0 ? parkMs : Math.min(parkMs, (keepAliveSec - KEEP_ALIVE_MARGIN_SEC) * 1000);
  }

  /** Whether a parked connection still looks open; the pool asks before it uses one. */
  get readable(): boolean {
    return this.#wire.readable;
  }

  // Ends.

  #onDue(): void {
    const { connectMs, responseMs, idleMs } = this.#settings;
    switch (this.#state) {
      case CONNECTING:
        this.#fail(notConnected(connectMs));
        break;
      case AWAITING:
        if (this.#wire.writeFailed) this.#failLost('request could not be sent', this.#writeError);
        else this.#fail(noHead(responseMs));
        break;
      case STREAMING:
        this.#fail(silence(idleMs));
        break;
      case PARKED:
        this.close();
        break;
      case LEAVING:
        this.#leave();
        break;
    }
  }

  /**
   * Ends the connection of a complete exchange: by a reset, but after an upload by a FIN, as a reset could destroy unread bytes. Over
   * TLS the backend is told.
   */
  #leave(): void {
    this.#end({ byReset: this.#wire.readable && !this.#hasBody && this.#settings.tls === undefined });
  }

  onBroken(error: Error): void {
    if (this.#state === CONNECTING) this.#fail(connectError(error));
    else this.#failLost(`connection failed: ${error.message}`, error);
  }

  /** Retryable only where the backend may not have seen the request: a parked connection that it was about to close (B10). */
  #failLost(message: string, cause: Error | null): void {
    const retryable = !this.#reader.answered && this.#exchange !== null && this.#exchange.reused;
    this.#fail(new LbError('upstream_reset', message, { cause: cause ?? undefined, retryable }));
  }

  #fail(error: LbError): void {
    const exchange = this.#exchange;
    this.close();
    if (error.code === 'connect_failed') this.#settings.onConnectFailed?.(error.message);
    exchange?.fail(error);
  }

  /** close ends the connection in any state; the exchange hears nothing of it. @param memoryIsFree see ExchangeOwner */
  close({ memoryIsFree } = { memoryIsFree: false }): void {
    this.#end({ byReset: this.#state !== PARKED, memoryIsFree });
  }

  /** @param byReset false closes by a FIN; if the backend has not closed yet, that holds the local port for a minute */
  #end({ byReset, memoryIsFree = false }: { byReset: boolean; memoryIsFree?: boolean }): void {
    if (this.#state === DEAD) return;
    this.#retire();
    if (byReset) this.#wire.reset();
    else this.#wire.close();
    this.#settings.buffers.release(this.#reader.finish(), memoryIsFree);
    this.#host.onClosed(this);
  }

  #retire(): void {
    this.#state = DEAD;
    this.#settings.timer.remove(this.#deadline);
    this.#exchange?.detach(null);
    this.#exchange = this.#kept = null;
    this.#pending = null;
    this.#sender.abandon();
    this.#writeWatch?.close();
  }
}
