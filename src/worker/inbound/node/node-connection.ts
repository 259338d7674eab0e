/**
 * One connection of a client on node:http. node parses all pipelined requests at once. They are served one after the other all
 * the same, so that each finds the connection free for its answer, and one packet cannot occupy many backends.
 *
 * State      entered by  what it means
 * OPEN                   `current` is served and others wait in the queue; or it is idle, and the keep-alive deadline runs.
 * CLOSING    onSent      the last answer has left. The parser may still find requests in its packet.
 * FAILED     fail        the parser gave up: the requests before are still answered, then comes the refusal.
 * LINGERING  #linger     our FIN is out; what still comes is discarded for a while, as in ClientConnection.
 * RELEASED   release     the socket belongs to a ClientConnection, which serves its last request: an upgrade. Final.
 */
import { Socket } from 'node:net';
import type { ClientFacts } from '../../../contract/downstream.ts';
import { resetOrDestroy } from '../../../infra/wire/socket-bound.ts';
import type { UnparsedRequest } from '../../../proxy/handler.ts';
import type { ConnectionOwner } from '../base-connection.ts';
import { Http1Connection } from '../http1/http1-connection.ts';
import type { NodeDownstream, NodeRequestOwner } from './node-downstream.ts';

const OPEN = 0;
const CLOSING = 1;
const FAILED = 2;
const LINGERING = 3;
const RELEASED = 4;

/** How often node looks at the deadlines of heads. */
export const HEAD_CHECK_MS = 1_000;
/** After this many looks node has surely noticed a deadline that has passed. */
const HEAD_CHECKS = 2;
/** Requests that may wait on one connection, and bytes after the first of them, before the socket is paused. */
const QUEUE_MAX = 64;
const AHEAD_MAX_BYTES = 32_768;
/** Requests that may wait in a worker; above it a connection with more than QUEUE_MAX is cut. One read can bring 2,400. */
const WAITING_MAX = 8_192;

/** Requests of all connections of a worker that wait, or that nobody will serve: node keeps those until their connection ends. */
export interface QueuedRequests {
  count: number;
}

/** NodeConnection is made by the engine for each accepted socket. */
export class NodeConnection extends Http1Connection<NodeDownstream> implements NodeRequestOwner {
  readonly socket: Socket;
  readonly onFlushed = (error?: Error | null): void => {
    if (!error) this.current?.flushed();
  };

  readonly #ended = (): void => this.#onEnd();
  readonly #closed = (): void => this.#onClose();
  readonly #queued: QueuedRequests;
  readonly #queue: NodeDownstream[] = [];
  #state = OPEN;
  #hasServed = false;
  /** The refusal that is sent after the answers to the queue. */
  #unparsed: UnparsedRequest | null = null;
  /** Requests of this connection that nobody will serve. */
  #ignoredCount = 0;
  #pausedForQueue = false;
  /** The parser has just made a request: those after it in the same packet are not known yet. */
  #parsing = false;
  /** bytesRead when the queue got its first request. */
  #queuedAtBytes = 0;
  /** The time of a head runs: see onDue. */
  #overdue = false;
  /** bytesRead when it became idle. */
  #idleAtBytes: number;
  /** bytesRead at the first answer in a drain: later requests are not served. */
  #drainedAtBytes = Number.POSITIVE_INFINITY;

  constructor(socket: Socket, client: ClientFacts, owner: ConnectionOwner, queued: QueuedRequests) {
    super(client, owner);
    this.socket = socket;
    this.#queued = queued;
    // What is put back was read before.
    this.#idleAtBytes = socket.bytesRead - socket.readableLength;
    socket.on('end', this.#ended);
    socket.on('close', this.#closed);
    // node calls this to make an answer the last thing on the connection.
    socket.destroySoon = () => this.#closeAfterAnswer();
    // The parser's deadline counts from now on; it is the one of later heads.
    this.armFromAccept(owner.plan.timeouts.headersMs);
  }

  get idle(): boolean {
    return this.current === null && this.#state <= CLOSING;
  }

  get receiving(): boolean {
    return this.readSinceIdle > 0;
  }

  protected get readBytes(): number {
    return this.socket.bytesRead;
  }

  get readSinceIdle(): number {
    return this.socket.bytesRead - this.#idleAtBytes;
  }

  get ending(): boolean {
    const { draining } = this.owner;
    if (draining) this.#drainedAtBytes = Math.min(this.#drainedAtBytes, this.socket.bytesRead);
    if (this.#queue.length > 0 || this.#unparsed !== null) return false;
    return draining || (!this.#parsing && this.owner.endsWithAnswer(this));
  }

  destroy(): void {
    // An answer without a length must not look complete.
    this.current?.abort();
    this.socket.destroy();
    this.current?.gone();
  }

  cut({ byReset }: { byReset: boolean }): void {
    if (byReset) resetOrDestroy(this.socket);
    else this.socket.destroy();
  }

  /** Whether no request of this connection waits for its answer. */
  get isFree(): boolean {
    return this.#state === OPEN && this.current === null;
  }

  /** release gives up the socket of a free connection. */
  release(): void {
    this.#state = RELEASED;
    this.forgetDeadline();
    this.socket.off('end', this.#ended);
    this.socket.off('close', this.#closed);
    Reflect.deleteProperty(this.socket, 'destroySoon');
  }

  // Requests.

  /** take is given each request that the parser has made. */
  take(downstream: NodeDownstream): void {
    if (this.socket.destroyed) return;
    if (this.#state !== OPEN) {
      this.#ignore();
    } else if (this.current === null) {
      this.#parsing = true;
      process.nextTick(endParsing, this);
      this.#serve(downstream);
    } else if (this.current.closing || this.socket.bytesRead > this.#drainedAtBytes) {
      // Nothing is served after the last answer (RFC 9112 §9.6), and a client that always pipelines must not hold up a drain.
      if (this.#ignoredCount === 0) this.#discardInput();
      this.#ignore();
    } else this.#enqueue(downstream);
  }

  /** parsed is called when the parser is through with its packet. */
  parsed(): void {
    this.#parsing = false;
  }

  #enqueue(downstream: NodeDownstream): void {
    const { socket } = this;
    if (this.#queue.length === 0) {
      this.#queuedAtBytes = socket.bytesRead;
      this.arm(0);
    }
    this.#queue.push(downstream);
    this.#queued.count += 1;
    if (this.#queue.length <= QUEUE_MAX && socket.bytesRead - this.#queuedAtBytes <= AHEAD_MAX_BYTES) return;
    if (this.#cutAbove(this.#queue.length)) return;
    // For each request again: to read a queued body resumes the socket, and so does the parser at the end of every message.
    this.#pausedForQueue = true;
    process.nextTick(pauseSocket, socket);
  }

  #ignore(): void {
    this.#ignoredCount += 1;
    this.#queued.count += 1;
    this.#cutAbove(this.#ignoredCount);
  }

  /** @param count requests that wait here @returns whether the connection was cut */
  #cutAbove(count: number): boolean {
    if (count <= QUEUE_MAX || this.#queued.count <= WAITING_MAX) return false;
    this.owner.onOverload();
    this.destroy();
    return true;
  }

  #dropQueue(): void {
    this.#ignoredCount += this.#queue.length;
    this.#queue.length = 0;
  }

  #serve(downstream: NodeDownstream): void {
    this.current = downstream;
    this.#hasServed = true;
    this.disarm();
    if (!downstream.received || this.#queue.length > 0) this.arm(0);
    this.owner.serve(downstream);
  }

  #serveNext(): boolean {
    const next = this.#queue.shift();
    if (next === undefined) return false;
    this.#queued.count -= 1;
    if (this.#pausedForQueue && this.#queue.length === 0) {
      this.#pausedForQueue = false;
      this.socket.resume();
    }
    this.#serve(next);
    return true;
  }

  // Ends of requests.

  onSent(downstream: NodeDownstream): void {
    if (this.current !== downstream) return;
    this.current = null;
    if (downstream.closing) {
      // node has called destroySoon just before.
      if (this.#state === OPEN) this.#state = CLOSING;
    } else if (!this.#serveNext()) {
      if (this.#unparsed !== null) this.#refuse(this.#unparsed);
      else if (downstream.received) this.#becomeIdle();
      else this.#awaitRest();
    }
  }

  onDiscarded(): void {
    if (this.idle) this.#becomeIdle();
  }

  onOverlong(): void {
    if (this.#state !== LINGERING && !this.socket.destroyed) this.#linger();
  }

  /** The rest of a body that nobody wants has the time of a head. */
  #awaitRest(): void {
    this.#overdue = true;
    this.arm(this.owner.plan.timeouts.headersMs);
  }

  #becomeIdle(): void {
    this.sinceMs = this.owner.timer.monotonicMs();
    this.#idleAtBytes = this.socket.bytesRead;
    this.#overdue = false;
    this.arm(this.owner.plan.timeouts.keepAliveMs);
  }

  /** fail is called when the parser, or the deadline of a head, has given up. Only the first time counts. */
  fail(unparsed: UnparsedRequest): void {
    if (this.#state >= FAILED || this.socket.destroyed) return;
    // It is we who do not read the rest of that head. node looks at each head once; later the idle deadline bounds it.
    if (unparsed.status === 408 && this.#pausedForQueue) return;
    this.#state = FAILED;
    const last = this.#queue.at(-1);
    if (last !== undefined && !last.received) {
      this.#queue.pop();
      this.#ignoredCount += 1;
    } else if (last === undefined && this.current !== null && !this.current.received) {
      // The bad bytes are in the body of the request that is served: that request is refused.
      this.current.bodyInvalid(unparsed.status);
      return;
    }
    this.#discardInput();
    if (this.current === null) this.#refuse(unparsed);
    else this.#unparsed = unparsed;
  }

  #refuse(unparsed: UnparsedRequest): void {
    const answer = this.owner.refusalOf(this, unparsed);
    if (this.socket.writable) this.socket.write(answer, 'latin1');
    this.#linger();
  }

  /** The last answer is on its way, and the client was told so. */
  #closeAfterAnswer(): void {
    const received = this.current?.received ?? true;
    const mayHaveMore =
      !received || this.#state >= FAILED || this.#ignoredCount > 0 || this.#queue.length > 0;
    if (mayHaveMore) this.#linger();
    else Socket.prototype.destroySoon.call(this.socket);
  }

  /** What still comes is not a request. Our own listener replaces node's parser, which would make requests of it. */
  #discardInput(): void {
    this.socket.removeAllListeners('data');
    this.socket.on('data', () => undefined);
    // Where the parser had stopped the reading, the stream believes that a read is under way; this ends it.
    this.socket.push('');
    this.socket.resume();
  }

  #linger(): void {
    this.#state = LINGERING;
    this.#dropQueue();
    this.socket.end();
    this.#discardInput();
    this.beginLingering();
  }

  // As WriteWatch sees it. node's documented API counts a piece once all of it has left.

  get wire(): { closed: boolean; blocked: boolean; takenBytes: number } {
    return this;
  }

  get closed(): boolean {
    return this.socket.destroyed;
  }

  get blocked(): boolean {
    return this.socket.writableLength > 0;
  }

  get takenBytes(): number {
    return this.socket.bytesWritten - this.socket.writableLength;
  }

  // Times and ends.

  protected override onDue(): void {
    if (this.#state === LINGERING) {
      if (!this.lingerOn()) this.socket.destroy();
    } else if (this.current !== null) this.#probe(this.current);
    else if (!this.#hasServed && this.receiving) this.fail({ status: 408, method: null });
    else if (this.receiving && !this.#overdue) {
      // A head that has begun has the parser's deadline, and its 408. Empty lines begin none (RFC 9112 §2.2), and get the same time.
      this.#overdue = true;
      this.arm(this.owner.plan.timeouts.headersMs + HEAD_CHECKS * HEAD_CHECK_MS);
    } else this.socket.destroy();
  }

  /** A socket that is not read shows no reset. An empty write makes the kernel tell; the error destroys the socket (B28). */
  #probe(current: NodeDownstream): void {
    if (current.received && this.#queue.length === 0) return;
    const { socket } = this;
    // Bytes that wait to leave tell by themselves.
    if (socket.writable && socket.writableLength === 0) socket.write('', 'latin1');
    this.arm(0);
  }

  /** A FIN while an answer is awaited is a client abort. */
  #onEnd(): void {
    if (this.current !== null && !this.current.ended) this.socket.destroy();
  }

  #onClose(): void {
    this.#dropQueue();
    this.#queued.count -= this.#ignoredCount;
    this.#ignoredCount = 0;
    this.leave();
  }
}

function endParsing(connection: NodeConnection): void {
  connection.parsed();
}

function pauseSocket(socket: Socket): void {
  socket.pause();
}
