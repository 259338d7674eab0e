/**
 * One connection of a client with HTTP/2, on node:http2. It serves up to 128 streams at a time; each is a request of its own.
 *
 * State    entered by    what it means
 * OPEN                   streams come and go; or there is none, and the keep-alive deadline runs.
 * CLOSING  #close        the client was told the last stream that is served (GOAWAY): later ones are for another connection.
 *                        Those that are open go on.
 * DEAD     #die          the socket is closed, or closes by itself. Final.
 *
 * One deadline looks at everything (onDue): heads that do not end, answers that nobody takes, frames that carry nothing, silence.
 */
import {
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Socket } from 'node:net';
import type { ClientFacts } from '../../../contract/downstream.ts';
import { HeldBytes, type PendingMemory } from '../../../http1/pending-bytes.ts';
import { PlacedList } from '../../../infra/placed-list.ts';
import { BaseConnection, type ConnectionOwner } from '../base-connection.ts';
import { letGo, lookAtAnswers } from './answer-watch.ts';
import { FloodGuard, type FloodKind, floodOf } from './flood-guard.ts';
import { Http2Request, type Http2RequestOwner } from './http2-request.ts';
import { sessionOptions, UNREAD_MAX_BYTES } from './session-options.ts';
import { StreamHeads } from './stream-head.ts';

const OPEN = 0;
const CLOSING = 1;
const DEAD = 2;

/** A client that does not close after its last stream is cut after this time. */
const CLOSING_MS = 2_000;
const LOOK_MS = 1_000;
/** Looks per `timeouts.headers` or `timeouts.writeIdle`, where these are short. */
const LOOKS = 4;
const SESSION_WINDOW_BYTES = 1 << 20;

/** Http2Shared is what all connections with HTTP/2 of a worker have in common. */
interface Http2Shared {
  /** Bounds the bodies that nobody has taken. */
  bodies: PendingMemory;
  /** Bounds the answers that no client has taken. */
  answers: PendingMemory;
  /** countFlood is told of each connection that is ended for a flood. */
  countFlood: (kind: FloodKind) => void;
}

/** Http2Connection is made for each connection whose protocol is HTTP/2. */
export class Http2Connection extends BaseConnection implements Http2RequestOwner {
  readonly protocol = 'h2';
  readonly floods = new FloodGuard();

  readonly #socket: Socket;
  readonly #session: ServerHttp2Session;
  readonly #requests = new PlacedList<Http2Request>();
  readonly #heads = new StreamHeads();
  readonly #shared: Http2Shared;
  readonly #openedMs: number;
  #state = OPEN;
  /** The id of the last stream that became a request. */
  #lastStreamId = 0;
  /** The bodies that nobody has taken yet, as of the last look. */
  readonly #held = new HeldBytes(this);
  /** The id of a stream whose head had begun and not ended at the last look; 0: none. */
  #unreadHeadId = 0;
  #unreadHeadMs = 0;

  constructor(socket: Socket, client: ClientFacts, owner: ConnectionOwner, shared: Http2Shared) {
    super(client, owner);
    this.#socket = socket;
    this.#shared = shared;
    this.#openedMs = this.sinceMs;
    const session = performServerHandshake(socket, sessionOptions(owner.plan.limits));
    this.#session = session;
    session.setLocalWindowSize(SESSION_WINDOW_BYTES);
    session.on('stream', (stream, _headers, flags, fields) => this.#onStream(stream, flags, fields));
    session.on('error', (error) => this.#onError(error));
    session.on('close', () => this.#die());
    // A FIN ends the connection, as in HTTP/1.1; node would keep the session until something is written.
    socket.on('end', () => this.destroy());
    session.on('ping', () => this.#count('ping'));
    session.on('remoteSettings', () => this.#count('settings'));
    this.#armLook();
  }

  get idle(): boolean {
    return this.#requests.items.length === 0;
  }

  get receiving(): boolean {
    return this.#newestHeadId > this.#lastStreamId;
  }

  /** The id of the last stream whose head has begun to come. */
  get #newestHeadId(): number {
    return this.#state === DEAD ? 0 : (this.#session.state.lastProcStreamID ?? 0);
  }

  // Streams.

  #onStream(stream: ServerHttp2Stream, flags: number, fields: string[]): void {
    stream.on('error', ignore);
    this.floods.requests += 1;
    this.#lastStreamId = stream.id ?? this.#lastStreamId;
    // A reset that came in the same read.
    if (stream.destroyed || stream.closed || this.#state === DEAD) {
      this.#count('reset');
      return;
    }
    const hasEnded = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const head = this.#heads.read(fields, hasEnded);
    this.floods.headBytes += head.headerBytes + head.target.length;
    // A body counts as it is taken. So many bytes may come before that, or are never taken where the stream is dropped: they are no
    // control bytes.
    if (!hasEnded) this.floods.bodyBytes += UNREAD_MAX_BYTES;
    const request = new Http2Request(head, hasEnded, stream, this);
    this.#requests.add(request);
    this.owner.serve(request);
  }

  onClosed(request: Http2Request): void {
    if (!request.ended && this.#state !== DEAD) this.#count('reset');
    this.#requests.remove(request);
    letGo(request, this.#shared.answers);
    if (!this.idle || this.#state === DEAD) return;
    this.sinceMs = this.owner.timer.monotonicMs();
    if (this.#state === CLOSING) this.arm(CLOSING_MS);
  }

  onAnswering(): void {
    this.floods.answers += 1;
    this.floods.pieces += 1;
    if (this.#state === OPEN && this.owner.takeSurplus()) this.#close();
  }

  // Ends.

  override beginDrain(): void {
    if (this.#state === OPEN) this.#close();
  }

  /** node accepts no stream after any GOAWAY, so a notice with the highest id before this one would lose requests. */
  #close(): void {
    this.#state = CLOSING;
    this.sinceMs = this.owner.timer.monotonicMs();
    this.#session.close();
    this.arm(this.idle ? CLOSING_MS : LOOK_MS);
  }

  destroy(): void {
    this.#end(constants.NGHTTP2_NO_ERROR);
  }

  /** Ends the connection, whatever is under way, and tells the client why. */
  #end(code: number): void {
    if (this.#state === DEAD) return;
    this.#die();
    // destroy(code) without an error would emit `error` with one that node makes.
    this.#session.destroy(code === constants.NGHTTP2_NO_ERROR ? undefined : new Error('flood'), code);
    // The last frames wait for a client that may take nothing.
    if (!this.#socket.destroyed) setTimeout(() => this.#socket.destroy(), CLOSING_MS).unref();
  }

  #die(): void {
    if (this.#state === DEAD) return;
    this.#state = DEAD;
    for (const request of this.#requests.items.slice()) {
      this.#requests.remove(request);
      request.gone();
      letGo(request, this.#shared.answers);
    }
    this.#shared.bodies.resize(this.#held, 0);
    this.leave();
  }

  #onError(error: Error): void {
    const kind = floodOf(error);
    if (kind !== null && this.#state !== DEAD) this.#shared.countFlood(kind);
  }

  // Floods.

  get #ageMs(): number {
    return this.owner.timer.monotonicMs() - this.#openedMs;
  }

  #count(kind: FloodKind): void {
    if (this.floods.count(kind, this.#ageMs)) this.#endFlood(kind);
  }

  #endFlood(kind: FloodKind): void {
    if (this.#state === DEAD) return;
    this.#shared.countFlood(kind);
    this.#end(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  // Times.

  protected override onDue(): void {
    const nowMs = this.owner.timer.monotonicMs();
    if (this.#state === CLOSING && this.idle && nowMs - this.sinceMs >= CLOSING_MS) {
      this.#end(constants.NGHTTP2_NO_ERROR);
      return;
    }
    this.#lookAtMemory(nowMs);
    // Ids are odd.
    const headCount = (this.#newestHeadId + 1) / 2;
    const flood = this.floods.look(this.#ageMs, this.#socket.bytesRead, headCount);
    if (flood !== null) this.#endFlood(flood);
    if (this.#state === DEAD || this.#isOverdue(nowMs)) return;
    this.#armLook();
  }

  #armLook(): void {
    const { headersMs, writeIdleMs } = this.owner.plan.timeouts;
    this.arm(Math.min(LOOK_MS, (this.idle ? headersMs : writeIdleMs) / LOOKS));
  }

  /** What waits in both directions is bounded for all connections together: cutExcess may end another one than this. */
  #lookAtMemory(nowMs: number): void {
    const { bodies, answers } = this.#shared;
    const requests = this.#requests.items;
    let bodyBytes = 0;
    for (const request of requests) bodyBytes += request.unreadBytes;
    bodies.resize(this.#held, bodyBytes);
    bodies.cutExcess(this.owner);
    lookAtAnswers(requests, answers, { nowMs, writeIdleMs: this.owner.plan.timeouts.writeIdleMs });
    answers.cutExcess(this.owner);
  }

  /** Whether a head, or the silence before one, has taken too long: then the connection takes no further stream. */
  #isOverdue(nowMs: number): boolean {
    const { headersMs, keepAliveMs } = this.owner.plan.timeouts;
    const newest = this.#newestHeadId;
    const hasUnreadHead = newest > this.#lastStreamId;
    const isFirst = this.floods.requests === 0;
    const sinceMs = nowMs - (isFirst ? this.client.acceptedMs : this.sinceMs);
    if (!hasUnreadHead || newest !== this.#unreadHeadId) this.#unreadHeadMs = nowMs;
    this.#unreadHeadId = hasUnreadHead ? newest : 0;
    const isOverdue =
      (hasUnreadHead && nowMs - this.#unreadHeadMs >= headersMs) ||
      (this.idle && sinceMs >= (isFirst ? headersMs : keepAliveMs));
    if (!isOverdue || this.#state !== OPEN) return false;
    this.#close();
    return true;
  }
}

/** One listener for all streams: a closure for each would be garbage. */
function ignore(): void {
  // `close` follows.
}
