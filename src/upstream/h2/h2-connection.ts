/**
 * One connection to a backend that speaks HTTP/2: node:http2's session and what bounds it.
 *
 * State       entered by      what it means
 * CONNECTING  (constructor)   no request may begin: the backend's SETTINGS, which say how many, have not come. A server that answers
 *                             in anything but HTTP/2 never gets a request.
 * OPEN        #onSettings     requests may begin while a stream is free.
 * DRAINING    drain           no further request: the backend sent GOAWAY, the pool is closed, Sluice has reset many streams, or the
 *                             numbers of streams run out.
 * DEAD        #die            the connection is closed. Final.
 *
 * One deadline serves all states (#onDue): to connect; without streams, until the connection closes; with streams, until a backend
 * that says nothing is asked whether it is there.
 */
import type { ClientHttp2Session, ClientHttp2Stream, SessionOptions } from 'node:http2';
import { Socket } from 'node:net';
import { toError } from '../../contract/errors.ts';
import { Deadline } from '../../infra/deadline-timer.ts';
import { type DialEvents, dial } from '../../infra/wire/dial.ts';
import { resetOrDestroy } from '../../infra/wire/socket-bound.ts';
import { type ConnectionSettings, DEFAULT_PARK_MS } from '../connection-settings.ts';

const CONNECTING = 0;
const OPEN = 1;
const DRAINING = 2;
const DEAD = 3;

/** Of a connection, whatever more the backend offers. */
const STREAMS_MAX = 256;
/** Requests before a connection is replaced: the numbers of its streams end at 2^31, and every second one is ours. */
const REQUESTS_MAX = 2 ** 29;
/**
 * After so many resets within so long no further request begins. Backends cut a connection that resets too many streams, with all that
 * are open on it (CVE-2023-44487): the clients that abort their requests would end those of all others. The usual limits begin at 200.
 */
const RESETS_MAX = 100;
const RESETS_MS = 30_000;
/** RFC 9113 §7. */
const CANCEL = 0x8;
/** A backend that has said nothing for so long while streams wait is sent a PING. */
const SILENT_MS = 30_000;
/**
 * For each further PING of the same silence: gRPC servers close a connection that sends them more often. A request that begins brings
 * the next one forward, because the path may have been lost since: once in a silence, and where the backend has ended it by an answer.
 */
const STILL_SILENT_MS = 300_000;
/** An answer to a PING that takes longer never comes. */
const PING_MS = 10_000;
/** After our GOAWAY the backend has this long to close the connection. */
const CLOSE_MS = 1_000;

/** Bytes that a backend may send to a stream that is not read. */
const STREAM_WINDOW_BYTES = 262_144;
/** Of all streams together. node:http2 gives it back as bytes arrive, so a stream that is not read holds up no other. */
const SESSION_WINDOW_BYTES = 16_777_216;

const OPTIONS: SessionOptions & Record<string, unknown> = {
  settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES, maxHeaderListSize: 65_536 },
  // With the pseudo field.
  maxHeaderListPairs: 201,
  maxSettings: 32,
  maxSessionInvalidFrames: 32,
  maxOutstandingPings: 2,
  maxReservedRemoteStreams: 0,
  // MiB for header blocks and what waits to be sent, not for bodies.
  maxSessionMemory: 64,
  // What a client may repeat is not ours to decide.
  strictSingleValueFields: false,
};

/** H2ConnectionHost is what a connection needs of its pool. */
export interface H2ConnectionHost {
  /** Streams are free, for the first time or again. */
  onFree(connection: H2Connection): void;
  /** No request begins on it any more. */
  onDraining(connection: H2Connection): void;
  /** A connection was lost, in whatever state, with streams; called for each of them. */
  onLost(): void;
  /** The last call about a connection that was open… */
  onClosed(connection: H2Connection): void;
  /** … and about one that never was. */
  onConnectFailed(connection: H2Connection, error: Error): void;
}

export class H2Connection implements DialEvents {
  readonly scheme: 'http' | 'https';
  /** Set whenever the backend has said something; see #askWhetherAlive. */
  heard = false;
  /** The error that ended the connection, if one did. */
  lostBy: Error | null = null;

  readonly #settings: ConnectionSettings;
  readonly #host: H2ConnectionHost;
  readonly #socket = new Socket();
  readonly #deadline = new Deadline(() => this.#onDue());
  readonly #startedMs: number;
  #http2: ClientHttp2Session | null = null;
  #state = CONNECTING;
  #activeCount = 0;
  #maxActive = 0;
  #requestCount = 0;
  /** Since #resetsSinceMs. */
  #resetCount = 0;
  #resetsSinceMs = 0;
  /** Streams above it were not processed (GOAWAY). */
  #lastStreamId = Number.POSITIVE_INFINITY;
  #pinging = false;
  /** Those answered since the backend has said anything else. */
  #pingCount = 0;
  /** The next PING is STILL_SILENT_MS away. */
  #isPatient = false;

  constructor(settings: ConnectionSettings, host: H2ConnectionHost) {
    this.#settings = settings;
    this.#host = host;
    this.scheme = settings.tls === undefined ? 'http' : 'https';
    this.#startedMs = settings.timer.monotonicMs();
    this.#arm(settings.connectMs);
    const socket = this.#socket;
    socket.on('error', (error) => this.#lose(error));
    socket.on('close', () => this.#die());
    dial(socket, settings, this);
  }

  onOpen(socket: Socket): void {
    if (this.#state !== DEAD) this.#begin(socket);
  }

  onTlsError(error: Error): void {
    this.#lose(error);
    this.#cut();
  }

  #lose(error: Error): void {
    this.lostBy ??= error;
  }

  /** The TCP connection is open, and over TLS the backend has chosen HTTP/2. */
  #begin(socket: Socket): void {
    const { host, port } = this.#settings;
    const authority = { protocol: `${this.scheme}:`, hostname: host, port: String(port) };
    // Not imported: 15 MiB, which only a worker with such a pool needs.
    const { connect } = process.getBuiltinModule('node:http2');
    const http2 = connect(authority as URL, { ...OPTIONS, createConnection: () => socket });
    this.#http2 = http2;
    http2.on('connect', () => http2.destroyed || http2.setLocalWindowSize(SESSION_WINDOW_BYTES));
    http2.on('remoteSettings', ({ maxConcurrentStreams }) => this.#onSettings(maxConcurrentStreams));
    http2.on('goaway', (_code, lastStreamId) => {
      this.#lastStreamId = Math.min(this.#lastStreamId, lastStreamId);
      this.drain();
    });
    http2.on('error', (error) => this.#lose(error));
    // node has closed the session; its socket may linger.
    http2.on('close', () => this.#die());
  }

  #onSettings(maxConcurrentStreams = STREAMS_MAX): void {
    this.heard = true;
    this.#maxActive = Math.min(maxConcurrentStreams, STREAMS_MAX);
    if (this.#state === CONNECTING) {
      this.#state = OPEN;
      const { timer, onConnected } = this.#settings;
      onConnected?.(timer.monotonicMs() - this.#startedMs);
      this.#rest();
    }
    if (this.hasFree) this.#host.onFree(this);
  }

  // What the pool and the streams ask.

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
  get isStopped(): boolean {
    return this.#state === OPEN && this.#maxActive === 0;
  }

  /** Whether streams have ended because the connection has. */
  get isLost(): boolean {
    return this.#state === DEAD || this.#http2?.destroyed === true;
  }

  /** hasGivenUp tells whether the backend did not process a stream: it said so, or the stream was never sent (undefined). */
  hasGivenUp(streamId: number | undefined): boolean {
    return streamId === undefined || streamId > this.#lastStreamId;
  }

  /** request opens a stream. Throws where node cannot send a field. */
  request(fields: string[], options: { endStream: boolean }): ClientHttp2Stream {
    if (this.#http2 === null) throw new Error('the connection is not open');
    return this.#http2.request(fields, options);
  }

  /** enter counts a stream that was opened; leave follows when it is closed. */
  enter(): void {
    const mayHurry = this.#isPatient && (this.heard || this.#pingCount === 1);
    if (this.#activeCount++ === 0 || mayHurry) this.#listen();
    if (++this.#requestCount >= REQUESTS_MAX) this.drain();
  }

  leave(): void {
    this.#activeCount--;
    // After an error of the protocol node ends all streams first, and waits for the socket.
    if (this.isLost) this.#host.onLost();
    if (this.#state === DEAD) return;
    if (this.#activeCount === 0) this.#rest();
    if (this.hasFree) this.#host.onFree(this);
  }

  /** reset ends a stream of which nobody needs the rest. */
  reset(stream: ClientHttp2Stream): void {
    if (stream.closed) return;
    // node ends a stream before it resets it, and the backend would take a body that was cut for a whole one.
    stream.end = () => stream;
    stream.close(CANCEL);
    const nowMs = this.#settings.timer.monotonicMs();
    if (nowMs - this.#resetsSinceMs > RESETS_MS) {
      this.#resetsSinceMs = nowMs;
      this.#resetCount = 0;
    }
    if (++this.#resetCount >= RESETS_MAX) this.drain();
  }

  /** drain lets the requests finish and closes the connection then. */
  drain(): void {
    if (this.#state === DRAINING || this.#state === DEAD) return;
    const wasConnecting = this.#state === CONNECTING;
    this.#state = DRAINING;
    this.#host.onDraining(this);
    if (wasConnecting) this.#cut();
    else if (this.#activeCount === 0) this.#close();
  }

  // Ends.

  #arm(delayMs: number): void {
    this.#settings.timer.arm(this.#deadline, delayMs);
  }

  /** There are no streams. */
  #rest(): void {
    if (this.#state === DRAINING) this.#close();
    else this.#arm(this.#settings.parkMs ?? DEFAULT_PARK_MS);
  }

  #onDue(): void {
    if (this.#state === CONNECTING) {
      this.lostBy = new Error(`no HTTP/2 connection within ${this.#settings.connectMs} ms`);
      this.#cut();
    } else if (this.#activeCount > 0) this.#askWhetherAlive();
    else if (this.#state === OPEN) this.drain();
    else this.#cut();
  }

  #askWhetherAlive(): void {
    if (this.#pinging) {
      this.#lose(new Error(`no answer to a PING within ${PING_MS} ms`));
      this.#cut();
      return;
    }
    if (this.heard) {
      this.#listen();
      return;
    }
    this.#pinging = true;
    this.#isPatient = false;
    this.#arm(PING_MS);
    this.#http2?.ping((error) => {
      this.#pinging = false;
      if (error !== null || this.#activeCount === 0) return;
      this.#pingCount++;
      this.#isPatient = true;
      this.#arm(STILL_SILENT_MS);
    });
  }

  #listen(): void {
    if (this.heard) this.#pingCount = 0;
    this.heard = false;
    this.#isPatient = false;
    this.#arm(SILENT_MS);
  }

  /** Sends GOAWAY and our FIN. */
  #close(): void {
    this.#arm(CLOSE_MS);
    this.#http2?.close();
  }

  #cut(): void {
    this.#http2?.destroy();
    resetOrDestroy(this.#socket);
    this.#die();
  }

  #die(): void {
    if (this.#state === DEAD) return;
    const wasConnecting = this.#state === CONNECTING;
    this.#state = DEAD;
    this.#settings.timer.remove(this.#deadline);
    this.#socket.destroy();
    if (wasConnecting) this.#host.onConnectFailed(this, toError(this.lostBy ?? 'connection closed'));
    else this.#host.onClosed(this);
  }
}
