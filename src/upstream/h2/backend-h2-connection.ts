/**
 * One connection to a backend that speaks HTTP/2: a session and what bounds it.
 *
 * State       entered by      what it means
 * CONNECTING  (constructor)   no request may begin: the backend's SETTINGS, which say how many, have not come. A server that answers
 *                             in anything but HTTP/2 never gets a request.
 * OPEN        onSettings      requests may begin while a stream is free.
 * DRAINING    drain           no further request: the backend sent GOAWAY or refuses streams, the pool is closed, Sluice has reset
 *                             many streams, or the numbers of streams run out.
 * DEAD        onClosed        the connection is closed. Final.
 *
 * One deadline serves all states (#onDue): to connect; without streams, until the connection closes; with streams, until a backend
 * that says nothing is asked whether it is there.
 */
import { HEADERS_MAX_COUNT } from '../../http1/field-lines.ts';
import { CODE, Http2Error } from '../../http2/frames.ts';
import { Session } from '../../http2/session.ts';
import type { NoiseKind, SessionHost, SessionOptions } from '../../http2/session-host.ts';
import type { Stream } from '../../http2/stream.ts';
import type { StreamEvents } from '../../http2/stream-events.ts';
import { Deadline } from '../../infra/deadline-timer.ts';
import { type ConnectionSettings, DEFAULT_PARK_MS } from '../connection-settings.ts';
import { RecentCount } from './recent-count.ts';

const CONNECTING = 0;
const OPEN = 1;
const DRAINING = 2;
const DEAD = 3;

/** Of a connection, whatever more the backend offers. */
const STREAMS_MAX = 256;
/** Requests before a connection is replaced: the numbers of its streams end at 2^31, and every second one is ours. */
const REQUESTS_MAX = 2 ** 29;
/**
 * After this many resets in a short time (RecentCount) no further request begins. Backends cut a connection that resets too many
 * streams, with all that are open on it (CVE-2023-44487): the clients that abort their requests would end those of all others. The usual limits begin at 200.
 */
const RESETS_MAX = 100;
/** Frames of no use in a short time, and one for each request: some servers send an empty DATA frame with every answer. */
const NOISE_MAX = 1_000;
/** A backend that has said nothing for this long while streams wait is sent a PING. */
const SILENT_MS = 30_000;
/**
 * Time to the next PING after an answered one; gRPC servers close a connection that pings more often. A new request moves it up to
 * SILENT_MS, once per silence, because the path may have broken meanwhile. Anything but the answer to a PING ends the silence.
 */
const STILL_SILENT_MS = 300_000;
/** An answer to a PING that takes longer never comes. */
const PING_MS = 10_000;

/** The first window of a stream: what a backend may send to one that is not read. */
export const STREAM_WINDOW_BYTES = 65_536;

const OPTIONS: SessionOptions = {
  isServer: false,
  streamWindowBytes: STREAM_WINDOW_BYTES,
  // What a backend may send to all streams together. It is given back as bytes arrive, so a stream that is not read holds up no other.
  connectionWindowBytes: 16_777_216,
  maxStreams: 0,
  // With the pseudo field.
  maxFields: HEADERS_MAX_COUNT + 1,
  maxListBytes: 65_536,
};

/** BackendH2ConnectionHost is what a connection needs of its pool. */
export interface BackendH2ConnectionHost {
  /** Streams are free, for the first time or again. */
  onFree(connection: BackendH2Connection): void;
  /** Whether one more connection may be given up for what its backend says of it. */
  mayReplace(): boolean;
  /** No request begins on it any more. */
  onDraining(connection: BackendH2Connection): void;
  /** A connection was lost, in whatever state, with streams; called for each of them. */
  onLost(): void;
  /** The last call about a connection that was open… */
  onClosed(connection: BackendH2Connection): void;
  /** … and about one that never was. */
  onConnectFailed(connection: BackendH2Connection, error: Error): void;
}

export class BackendH2Connection implements SessionHost {
  readonly scheme: 'http' | 'https';
  /** Set whenever the backend has said something; see #askWhetherAlive. */
  hasSpoken = false;

  readonly #settings: ConnectionSettings;
  readonly #host: BackendH2ConnectionHost;
  readonly #session: Session;
  readonly #deadline = new Deadline(() => this.#onDue());
  readonly #startedMs: number;
  #state = CONNECTING;
  #activeCount = 0;
  #maxActive = 0;
  #requestCount = 0;
  readonly #resets = new RecentCount();
  readonly #noise = new RecentCount();
  /** Streams above it were not processed (GOAWAY). */
  #lastStreamId = Number.POSITIVE_INFINITY;
  #pinging = false;
  /** Those answered since the backend has said anything else. */
  #pingCount = 0;
  /** The next PING is STILL_SILENT_MS away. */
  #isSlowPing = false;

  constructor(settings: ConnectionSettings, host: BackendH2ConnectionHost) {
    this.#settings = settings;
    this.#host = host;
    this.scheme = settings.tls === undefined ? 'http' : 'https';
    this.#startedMs = settings.timer.monotonicMs();
    this.#arm(settings.connectMs);
    this.#session = new Session((events) => settings.wires.connect(settings, events), OPTIONS, this);
  }

  // What the session says.

  onSettings(maxConcurrentStreams: number): void {
    this.hasSpoken = true;
    this.#maxActive = Math.min(maxConcurrentStreams, STREAMS_MAX);
    if (this.#state === CONNECTING) {
      this.#state = OPEN;
      const { timer, onConnected } = this.#settings;
      onConnected?.(timer.monotonicMs() - this.#startedMs);
      this.#rest();
    }
    if (this.hasFree) this.#host.onFree(this);
  }

  onGoaway(lastStreamId: number, code: number): void {
    this.#lastStreamId = Math.min(this.#lastStreamId, lastStreamId);
    if (code === CODE.NO_ERROR) this.drain();
    else this.#session.cut(new Error(`GOAWAY with code ${code}`));
  }

  onUnwritable(): void {
    this.drain();
  }

  onPong(): void {
    if (!this.#pinging) return;
    this.#pinging = false;
    if (this.#activeCount === 0) return;
    this.#pingCount++;
    this.#isSlowPing = true;
    this.#arm(STILL_SILENT_MS);
  }

  onNoise(kind: NoiseKind): void {
    // These cost the backend as much as us.
    if (kind === 'reset' || kind === 'ping' || kind === 'settings') return;
    if (this.#noise.add(this.#settings.timer.monotonicMs()) > NOISE_MAX + this.#requestCount)
      this.#session.cut(new Error('too many frames of no use'));
  }

  onStreamClosed(): void {
    this.#activeCount--;
    if (this.isLost) return;
    if (this.#activeCount === 0) this.#rest();
    if (this.hasFree) this.#host.onFree(this);
  }

  onClosed(): void {
    if (this.#state === DEAD) return;
    const wasConnecting = this.#state === CONNECTING;
    this.#state = DEAD;
    this.#settings.timer.remove(this.#deadline);
    if (wasConnecting) this.#host.onConnectFailed(this, whyNotConnected(this.lostBy));
    else this.#host.onClosed(this);
  }

  // What the pool and the requests ask.

  get isConnecting(): boolean {
    return this.#state === CONNECTING;
  }

  get hasFree(): boolean {
    return this.#state === OPEN && this.#activeCount < this.#maxActive && !this.isLost;
  }

  /** Whether a request has begun on it. */
  get hasServed(): boolean {
    return this.#requestCount > 0;
  }

  /** Whether the backend allows no streams at all; another connection would not help. */
  get allowsNone(): boolean {
    return this.#state === OPEN && this.#maxActive === 0;
  }

  /** Whether streams have ended because the connection has. */
  get isLost(): boolean {
    return this.#state === DEAD || this.#session.isDead;
  }

  /** The error that ended the connection, if one did. */
  get lostBy(): Error | null {
    return this.#session.error;
  }

  /** hasGivenUp tells whether the backend did not process a stream, and said so (GOAWAY). */
  hasGivenUp(streamId: number): boolean {
    return streamId > this.#lastStreamId;
  }

  /** open begins a request where a stream is free. @param ends whether it has no body */
  open(fields: string[], ends: boolean, events: StreamEvents): Stream {
    const mayPingSooner = this.#isSlowPing && (this.hasSpoken || this.#pingCount === 1);
    if (this.#activeCount++ === 0 || mayPingSooner) this.#listen();
    const stream = this.#session.open(fields, ends, events);
    if (++this.#requestCount >= REQUESTS_MAX) this.drain();
    return stream;
  }

  /** reset ends a stream of which nobody needs the rest. */
  reset(stream: Stream): void {
    if (stream.isClosed) return;
    if (this.#resets.add(this.#settings.timer.monotonicMs()) >= RESETS_MAX) this.drain();
    stream.reset(CODE.CANCEL);
  }

  /** onRequestClosed is called by a request whose stream has closed, before another attempt looks for a connection. */
  onRequestClosed(): void {
    if (this.isLost) this.#host.onLost();
  }

  /** replace is called where the backend refuses streams on this connection. @returns whether the next request finds another one */
  replace(): boolean {
    if (this.#state === OPEN && this.#host.mayReplace()) this.drain();
    return this.#state !== OPEN;
  }

  /** drain lets the requests finish and closes the connection then. */
  drain(): void {
    if (this.#state === DRAINING || this.#state === DEAD) return;
    const wasConnecting = this.#state === CONNECTING;
    this.#state = DRAINING;
    this.#host.onDraining(this);
    if (wasConnecting) this.#session.cut(null);
    else if (this.#activeCount === 0) this.#session.destroy(CODE.NO_ERROR);
  }

  // Ends.

  #arm(delayMs: number): void {
    this.#settings.timer.arm(this.#deadline, delayMs);
  }

  /** There are no streams. */
  #rest(): void {
    if (this.#state === DRAINING) this.#session.destroy(CODE.NO_ERROR);
    else this.#arm(this.#settings.parkMs ?? DEFAULT_PARK_MS);
  }

  #onDue(): void {
    if (this.#state === CONNECTING)
      this.#session.cut(new Error(`no HTTP/2 connection within ${this.#settings.connectMs} ms`));
    else if (this.#activeCount === 0) this.drain();
    else if (this.#pinging) this.#session.cut(new Error(`no answer to a PING within ${PING_MS} ms`));
    else if (this.hasSpoken) this.#listen();
    else this.#askWhetherAlive();
  }

  #askWhetherAlive(): void {
    this.#pinging = true;
    this.#isSlowPing = false;
    this.#arm(PING_MS);
    this.#session.ping();
  }

  #listen(): void {
    if (this.hasSpoken) this.#pingCount = 0;
    this.hasSpoken = false;
    this.#isSlowPing = false;
    this.#arm(SILENT_MS);
  }
}

function whyNotConnected(error: Error | null): Error {
  if (!(error instanceof Http2Error)) return error ?? new Error('connection closed');
  return new Error(`what answers does not speak HTTP/2 (${error.message})`, { cause: error });
}
