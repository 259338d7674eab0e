/**
 * One connection of a client with HTTP/2, on a session of our own (src/http2). It serves up to 128 streams at a time; each is a request
 * of its own.
 *
 * State      entered by    what it means
 * OPEN                     streams come and go; or there is none, and the keep-alive deadline runs.
 * WARNED     #warn         the client was asked to open no further stream (GOAWAY with the largest number). Those that are on their way
 *                          are served: all have come with the answer to a PING (RFC 9113 §6.8).
 * CLOSING    #close        the client was told the last stream that is served (GOAWAY): later ones are for another connection.
 *                          Those that are open go on.
 * LINGERING  #finish       no stream is open, and our FIN is out. The client may still be reading the last answers, and says so
 *                          (WINDOW_UPDATE): what comes is dropped for a while (lingering-connection.ts).
 * ENDED      onClosed      the session has ended for what the client sent, which has two seconds to read why and to close.
 * DEAD       onWireClosed  the socket is closed. Final.
 *
 * One deadline looks at everything (onDue): heads that do not end, answers that nobody takes, frames that carry nothing, silence.
 */
import type { Socket } from 'node:net';
import type { ClientFacts } from '../../../contract/downstream.ts';
import { CODE, Http2Error } from '../../../http2/frames.ts';
import { Session } from '../../../http2/session.ts';
import type { NoiseKind, SessionHost } from '../../../http2/session-host.ts';
import type { Stream } from '../../../http2/stream.ts';
import { PlacedList } from '../../../infra/placed-list.ts';
import type { WireMaker } from '../../../infra/wire/wire-maker.ts';
import { CountedMemory, type PendingMemory } from '../../../memory/pending-bytes.ts';
import type { ConnectionOwner } from '../base-connection.ts';
import { LINGER_IDLE_MS, LingeringConnection } from '../lingering-connection.ts';
import { letGo, lookAtAnswers } from './answer-watch.ts';
import { ClientH2Request, type ClientH2RequestOwner, type ServedEvents } from './client-h2-request.ts';
import { FloodGuard, type FloodKind } from './flood-guard.ts';
import { STREAM_WINDOW_BYTES, sessionOptions, WINDOWS_BYTES } from './session-options.ts';
import { StreamHeads } from './stream-head.ts';

const OPEN = 0;
const WARNED = 1;
const CLOSING = 2;
const LINGERING = 3;
const ENDED = 4;
const DEAD = 5;

/**
 * An idle client that says nothing has this long to answer a PING. With streams, or while it says anything, it has `timeouts.headers`:
 * the PING may wait behind an answer. Streams that come later are not served.
 */
const WARNED_MS = 1_000;
/** A client that may still be reading the last answer may say nothing for this long: some give back a large window by halves only. */
const READING_MS = 10_000;
/** A connection that was sent no more than this has no answer that waits in a kernel for long. */
const SMALL_BYTES = 65_536;
const LOOK_MS = 1_000;
/** Resets of streams that were open this long cost no allowance: 128 streams bound them to as many in this time. */
const PATIENCE_MS = 1_000;
/** Looks per `timeouts.headers` or `timeouts.writeIdle`, where these are short. */
const LOOKS = 4;

/** Http2Shared is what all connections with HTTP/2 of a worker have in common. */
interface Http2Shared {
  wires: WireMaker;
  /** Bounds the bodies that nobody has taken, and the heads that do not end or leave. */
  bodies: PendingMemory;
  /** Bounds the answers that no client has taken. */
  answers: PendingMemory;
  /** countFlood is told of each connection that is ended for a flood. */
  countFlood: (kind: FloodKind) => void;
  /** noteFault logs why a connection was ended, each kind once per second at most. */
  noteFault: (kind: string, clientIp: string) => void;
}

/** ClientH2Connection is made for each connection whose protocol is HTTP/2. */
export class ClientH2Connection extends LingeringConnection implements ClientH2RequestOwner, SessionHost {
  readonly protocol = 'h2';
  readonly floods = new FloodGuard();
  readonly session: Session;

  readonly #requests = new PlacedList<ClientH2Request>();
  readonly #heads = new StreamHeads();
  readonly #shared: Http2Shared;
  readonly #openedMs: number;
  #state = OPEN;
  #hasServed = false;
  /** When a look has seen bytes of the client last. */
  #readMs = 0;
  #warnedMs = 0;
  /** The PING of #warn was answered: the client has read what left before it. */
  #hasPonged = false;
  /** The bodies that nobody has taken yet and the heads that do not end or leave, as of the last look. */
  readonly #held = new CountedMemory(this);
  /** The id of a stream whose head had begun and not ended at the last look; 0: none. */
  #unreadHeadId = 0;
  #unreadHeadMs = 0;

  constructor(socket: Socket, client: ClientFacts, owner: ConnectionOwner, shared: Http2Shared) {
    super(client, owner);
    this.#shared = shared;
    this.#openedMs = this.sinceMs;
    const options = sessionOptions(owner.plan.limits);
    this.session = new Session((events) => shared.wires.accept(socket, events), options, this);
    this.#armLook();
  }

  protected get readBytes(): number {
    return this.session.readBytes;
  }

  get idle(): boolean {
    return this.#state < LINGERING && this.#requests.items.length === 0;
  }

  get receiving(): boolean {
    return this.session.unreadHeadId !== 0;
  }

  // Streams.

  onStream(stream: Stream, fields: string[], ends: boolean): void {
    this.#hasServed = true;
    if (this.owner.draining) this.#warn();
    const head = this.#heads.read(fields, ends);
    this.floods.headBytes += head.headerBytes + head.target.length;
    // Body bytes are counted when they are taken. A window of them may come earlier, or never be taken: count it now, or they would
    // look like control bytes.
    if (!ends) this.floods.bodyBytes += STREAM_WINDOW_BYTES;
    const request = new ClientH2Request(head, stream, this, this.owner.timer.monotonicMs());
    stream.events = request;
    this.#requests.add(request);
    if (head.bodyLength === 0 && !ends) process.nextTick(() => this.#serveEmpty(request, stream));
    else this.owner.serve(request);
  }

  /** Serves a request that has announced a body of no bytes, unless some have come with it. */
  #serveEmpty(request: ClientH2Request, stream: Stream): void {
    // A request without a body is never read: resume, to hear whether bytes come all the same.
    stream.resume();
    if (!stream.isClosed) this.owner.serve(request);
  }

  onStreamClosed({ events }: Stream): void {
    const { request } = events as ServedEvents;
    this.#requests.remove(request);
    letGo(request, this.#shared.answers);
    request.closed();
    if (!this.idle) return;
    this.sinceMs = this.owner.timer.monotonicMs();
    if (this.#state === CLOSING) this.arm(0);
  }

  onAnswering(): void {
    this.floods.answers += 1;
    this.floods.pieces += 1;
    if (this.#state === OPEN && this.owner.endsWithAnswer(this)) this.#warn();
  }

  // Ends.

  /** The first request of a connection is served in a drain too, as over HTTP/1.1: some clients give it up where a GOAWAY comes first. */
  override beginDrain(): void {
    if (this.#hasServed) this.#warn();
  }

  /** No first request has come. */
  override end(): void {
    this.#warn();
  }

  #warn(): void {
    if (this.#state !== OPEN) return;
    this.#state = WARNED;
    this.#warnedMs = this.owner.timer.monotonicMs();
    if (this.hasRead()) this.#readMs = this.#warnedMs;
    this.session.announceGoaway();
    this.arm(WARNED_MS);
  }

  onPong(): void {
    this.#hasPonged = true;
    this.#close();
  }

  #close(): void {
    if (this.#state >= CLOSING) return;
    this.#state = CLOSING;
    this.session.goaway(CODE.NO_ERROR);
    // Until the client hears of it, it may begin uploads that are dropped: they are no control bytes.
    this.floods.bodyBytes += WINDOWS_BYTES;
    this.arm(this.idle ? 0 : LOOK_MS);
  }

  #finish(): void {
    const lastMs = Math.max(this.#readMs, this.sinceMs);
    // The PING left behind the last answer.
    const hasReadAll = this.#hasPonged && this.#warnedMs > this.sinceMs;
    const idleMs = hasReadAll || this.session.takenBytes <= SMALL_BYTES ? LINGER_IDLE_MS : READING_MS;
    const isQuiet = !this.hasRead() && this.owner.timer.monotonicMs() - lastMs >= idleMs;
    // Its time to linger is over already. An idle client must not delay the exit of a worker.
    if (isQuiet) this.destroy();
    else {
      this.#state = LINGERING;
      this.beginLingering(idleMs);
      this.session.finish();
    }
  }

  /** Closes the socket too: the client is told as far as the kernel takes it now. */
  destroy(): void {
    this.session.destroy(CODE.NO_ERROR);
    this.session.closeWire();
  }

  onClosed(error: Error | null): void {
    if (this.#state !== LINGERING) this.#state = ENDED;
    if (error instanceof Http2Error) this.#shared.noteFault(error.message, this.client.address);
    this.#shared.bodies.resize(this.#held, 0);
  }

  onWireClosed(): void {
    this.#state = DEAD;
    this.leave();
  }

  // Floods.

  get #ageMs(): number {
    return this.owner.timer.monotonicMs() - this.#openedMs;
  }

  onNoise(kind: NoiseKind, stream?: Stream): void {
    if (stream !== undefined && this.#isPatient(stream)) return;
    if (this.floods.count(kind, this.#ageMs)) this.#endFlood(kind === 'control' ? 'control_bytes' : kind);
  }

  /** A client that cancels what takes too long is no flood, however many requests a stalled backend makes it cancel. */
  #isPatient({ events }: Stream): boolean {
    const { begunMs } = (events as ServedEvents).request;
    return this.owner.timer.monotonicMs() - begunMs >= PATIENCE_MS;
  }

  #endFlood(kind: FloodKind): void {
    if (this.#state >= LINGERING) return;
    this.#shared.countFlood(kind);
    this.#shared.noteFault(`flood: ${kind}`, this.client.address);
    this.session.destroy(CODE.ENHANCE_YOUR_CALM);
  }

  // Times.

  protected override onDue(): void {
    if (this.#state === LINGERING && !this.lingerOn()) this.session.closeWire();
    if (this.#state >= LINGERING) return;
    if (this.#state === CLOSING && this.idle) {
      this.#finish();
      return;
    }
    const nowMs = this.owner.timer.monotonicMs();
    if (this.hasRead()) this.#readMs = nowMs;
    this.#lookAtMemory(nowMs);
    if (this.floods.isOverBudget(this.#ageMs, this.session.readBytes)) this.#endFlood('control_bytes');
    if (this.#state >= LINGERING) return;
    const state = this.#state;
    this.#lookAtTimes(nowMs);
    if (this.#state === state) this.#armLook();
  }

  #armLook(): void {
    const { headersMs, writeIdleMs } = this.owner.plan.timeouts;
    this.arm(Math.min(LOOK_MS, (this.idle ? headersMs : writeIdleMs) / LOOKS));
  }

  /** What waits in both directions is bounded for all connections together: cutExcess may end another one than this. */
  #lookAtMemory(nowMs: number): void {
    const { bodies, answers } = this.#shared;
    const requests = this.#requests.items;
    let memoryBytes = this.session.heldMemoryBytes;
    for (const request of requests) memoryBytes += request.unreadMemoryBytes;
    bodies.resize(this.#held, memoryBytes);
    bodies.cutExcess(this.owner);
    lookAtAnswers(requests, answers, { nowMs, writeIdleMs: this.owner.plan.timeouts.writeIdleMs });
    answers.cutExcess(this.owner);
  }

  #lookAtTimes(nowMs: number): void {
    const { headersMs, keepAliveMs } = this.owner.plan.timeouts;
    const { unreadHeadId } = this.session;
    if (unreadHeadId === 0 || unreadHeadId !== this.#unreadHeadId) this.#unreadHeadMs = nowMs;
    this.#unreadHeadId = unreadHeadId;
    const isFirstLate = this.idle && !this.#hasServed && nowMs - this.client.acceptedMs >= headersMs;
    const isHeadLate = unreadHeadId !== 0 && nowMs - this.#unreadHeadMs >= headersMs;
    const isWaiting = unreadHeadId !== 0 || !this.idle || this.#readMs > this.#warnedMs;
    const isWarnedLong = nowMs - this.#warnedMs >= (isWaiting ? headersMs : WARNED_MS);
    if (isFirstLate || isHeadLate || (this.#state === WARNED && isWarnedLong)) this.#close();
    else if (this.idle && this.#hasServed && nowMs - this.sinceMs >= keepAliveMs) this.#warn();
  }
}
