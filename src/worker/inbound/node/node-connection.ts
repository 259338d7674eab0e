/**
 * One connection of a client on node:http, as long as it lives.
 *
 * Requests that a client pipelines are served one after the other, so each finds the connection free for its answer and
 * a client cannot occupy many backends by one packet. node has parsed them all by then. States:
 *
 * idle       no request; the keep-alive deadline runs (or node's own for the head).
 * busy       `current` is being served, others wait in `queue`.
 * failed     the parser gave up: what was sound before is still answered, then comes the refusal, then lingering.
 * lingering  our FIN is out; what the client still sends is read into nothing for a while, because closing on unread
 *            bytes makes the kernel send a RST, which can take the answer with it (RFC 9112 §9.6).
 */
import { Socket } from 'node:net';
import { resetOrDestroy } from '../../../infra/wire/wire.ts';
import type { UnparsedRequest } from '../../../proxy/handler.ts';
import { BaseConnection, LINGER_IDLE_MS } from '../base-connection.ts';
import type { ConnectionOwner } from '../engine.ts';
import type { NodeDownstream, NodeRequestOwner } from './node-downstream.ts';

/** How often node looks at the deadlines of heads. */
export const HEAD_CHECK_MS = 1_000;
/** After so many of them it has surely looked at a deadline that is over. */
const HEAD_CHECKS = 2;
/** Requests that may wait on one connection, and bytes that may come in behind the first, before it is no longer read. */
const QUEUE_MAX = 64;
const AHEAD_MAX_BYTES = 32_768;
/**
 * The parser is not to be stopped inside a read, and one of 64 KiB can hold 2,400 requests of 2 KiB of memory each: above
 * this sum over all connections those with more than QUEUE_MAX are cut.
 */
const WAITING_MAX = 8_192;
/** QueuedRequests counts, over all connections of a worker, requests that wait or that node keeps although nobody serves them. */
export interface QueuedRequests {
  count: number;
}

/** NodeConnection is made by the engine for each accepted socket. */
export class NodeConnection extends BaseConnection<NodeDownstream> implements NodeRequestOwner {
  readonly socket: Socket;
  readonly onFlushed = (error?: Error | null): void => {
    if (!error) this.current?.flushed();
  };

  readonly #queued: QueuedRequests;
  readonly #queue: NodeDownstream[] = [];
  #unparsed: UnparsedRequest | null = null;
  #failed = false;
  #lingering = false;
  /** Requests came in behind the last one that is served. */
  #ignoring = false;
  /** Requests that nobody will serve; they count as waiting. */
  #ignoredCount = 0;
  /** The last answer has left. The parser may still be in the middle of a packet with further requests. */
  #closing = false;
  #pausedForQueue = false;
  /** A request was served from within the parser: those behind it in the same packet are not known yet. */
  #parsing = false;
  /** Bytes read when the queue was last empty and got its first request. */
  #queuedAtBytes = 0;
  /** Something had come in by the end of keepAlive; see #onDue. */
  #overdue = false;
  /** Bytes read when it last became idle, or was looked at while lingering. */
  #idleAtBytes = 0;
  /** Bytes read when it first answered in a drain: requests that come later are not served. */
  #drainedAtBytes: number | null = null;

  constructor(socket: Socket, owner: ConnectionOwner, queued: QueuedRequests) {
    super(socket.remoteAddress, owner);
    this.socket = socket;
    this.#queued = queued;
    socket.on('end', () => this.#onEnd());
    socket.on('close', () => this.#onClose());
    // node calls this where it wants an answer to be the last thing on the connection.
    socket.destroySoon = () => this.#closeAfterAnswer();
  }

  /** Whether it waits for a request; one whose head is half there counts as idle. */
  get idle(): boolean {
    return this.current === null && !this.#failed && !this.#lingering;
  }

  /** Whether bytes of a next request have come in while idle. */
  get receiving(): boolean {
    return this.readSinceIdle > 0;
  }

  /** Bytes read since it last became idle. */
  get readSinceIdle(): number {
    return this.socket.bytesRead - this.#idleAtBytes;
  }

  /** The answer under way will be the last one. */
  get ending(): boolean {
    if (this.owner.draining) this.#drainedAtBytes ??= this.socket.bytesRead;
    if (this.#queue.length > 0 || this.#unparsed !== null) return false;
    return this.owner.draining || (!this.#parsing && this.owner.takeSurplus());
  }

  destroy(): void {
    // An answer without a length must not look complete.
    this.current?.abort();
    this.socket.destroy();
    this.current?.gone();
  }

  /** The parser is through with what it has read. */
  parsed(): void {
    this.#parsing = false;
  }

  /** take accepts a request that the parser made. */
  take(downstream: NodeDownstream): void {
    if (this.socket.destroyed) return;
    if (this.#lingering || this.#failed || this.#closing) {
      this.#ignore();
      return;
    }
    if (this.current === null) {
      this.#parsing = true;
      process.nextTick(endParsing, this);
      this.#serve(downstream);
      return;
    }
    // A busy connection whose answer will close it takes no more (RFC 9112 §9.6), and a drain does not wait for a client that
    // always pipelines.
    if (this.current.closing || this.socket.bytesRead > (this.#drainedAtBytes ?? Number.POSITIVE_INFINITY)) {
      if (!this.#ignoring) this.#readIntoNothing();
      this.#ignoring = true;
      this.#ignore();
      return;
    }
    this.#enqueue(downstream);
  }

  #enqueue(downstream: NodeDownstream): void {
    const { socket } = this;
    if (this.#queue.length === 0) {
      this.#queuedAtBytes = socket.bytesRead;
      this.#watch();
    }
    this.#queue.push(downstream);
    this.#queued.count += 1;
    if (this.#queue.length <= QUEUE_MAX && socket.bytesRead - this.#queuedAtBytes <= AHEAD_MAX_BYTES) return;
    if (this.#cutAbove(this.#queue.length)) return;
    // Again for each: reading a body that lies in the queue starts the socket too.
    this.#pausedForQueue = true;
    // After the parser is through with its chunk: it resumes the socket at the end of every message.
    process.nextTick(pauseSocket, socket);
  }

  /** What one read brings can be many: node keeps each of them until the connection ends. */
  #ignore(): void {
    this.#ignoredCount += 1;
    this.#queued.count += 1;
    this.#cutAbove(this.#ignoredCount);
  }

  /** @returns whether it was cut, for `count` requests that wait here and too many in all */
  #cutAbove(count: number): boolean {
    if (count <= QUEUE_MAX || this.#queued.count <= WAITING_MAX) return false;
    this.owner.onOverload();
    this.socket.destroy();
    return true;
  }

  #dequeue(): NodeDownstream | undefined {
    const next = this.#queue.shift();
    if (next !== undefined) this.#queued.count -= 1;
    return next;
  }

  #dropQueue(): void {
    this.#ignoredCount += this.#queue.length;
    this.#queue.length = 0;
  }

  /** fail is called when the parser, or a deadline, gave the bytes up; only the first time counts. */
  fail(unparsed: UnparsedRequest): void {
    if (this.#failed || this.#lingering || this.socket.destroyed) return;
    this.#failed = true;
    const last = this.#queue.at(-1);
    if (last !== undefined && !last.received) {
      this.#queue.pop();
      this.#ignoredCount += 1;
    } else if (last === undefined && this.current !== null && !this.current.received) {
      // The bad bytes are the body of the request that is being served: it is the one to be refused.
      this.current.bodyInvalid(unparsed.status);
      return;
    }
    this.#readIntoNothing();
    if (this.current === null) this.#refuse(unparsed);
    else this.#unparsed = unparsed;
  }

  onSent(downstream: NodeDownstream): void {
    if (this.current !== downstream) return;
    this.current = null;
    // node has called destroySoon just before.
    if (downstream.closing) {
      this.#closing = true;
      return;
    }
    const next = this.#dequeue();
    if (next !== undefined) {
      this.#resumeQueue();
      this.#serve(next);
    } else if (this.#unparsed !== null) this.#refuse(this.#unparsed);
    else if (downstream.received) this.#becomeIdle();
    else this.#awaitRest();
  }

  onDiscarded(): void {
    if (this.current === null && !this.#failed && !this.#lingering) this.#becomeIdle();
  }

  onOverlong(): void {
    if (!this.#lingering && !this.socket.destroyed) this.#linger();
  }

  /** The rest of a body that nobody wants has as long as a head. */
  #awaitRest(): void {
    this.#overdue = true;
    this.arm(this.owner.plan.timeouts.headersMs);
  }

  /** As WriteWatch sees it: on documented API pieces count once all of a piece has left. */
  protected override get watched(): { closed: boolean; blocked: boolean; takenBytes: number } {
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

  cut({ byReset }: { byReset: boolean }): void {
    if (byReset) resetOrDestroy(this.socket);
    else this.socket.destroy();
  }

  #becomeIdle(): void {
    this.sinceMs = this.owner.clock.monotonicMs();
    this.#idleAtBytes = this.socket.bytesRead;
    this.#overdue = false;
    this.arm(this.owner.plan.timeouts.keepAliveMs);
  }

  #serve(downstream: NodeDownstream): void {
    this.current = downstream;
    this.disarm();
    if (!downstream.received || this.#queue.length > 0) this.#watch();
    this.owner.serve(downstream);
  }

  /** #watch looks at the socket with the next tick of the timer. */
  #watch(): void {
    this.arm(0);
  }

  /**
   * A socket that is not read, because a backend takes no more of a body or because requests wait, says nothing of a reset.
   * Writing nothing makes the kernel tell: an error destroys the socket (B28). No system call for any other request.
   */
  #probe(current: NodeDownstream): void {
    if (current.received && this.#queue.length === 0) return;
    const { socket } = this;
    // What waits to leave tells by itself.
    if (socket.writable && socket.writableLength === 0) socket.write('', 'latin1');
    this.#watch();
  }

  #resumeQueue(): void {
    if (!this.#pausedForQueue || this.#queue.length > 0) return;
    this.#pausedForQueue = false;
    this.socket.resume();
  }

  #refuse(unparsed: UnparsedRequest): void {
    const answer = this.owner.refusalOf(this, unparsed);
    if (this.socket.writable) this.socket.write(answer, 'latin1');
    this.#linger();
  }

  /** The answer is on its way, and the client was told that it is the last one. */
  #closeAfterAnswer(): void {
    const received = this.current?.received ?? true;
    if (!received || this.#failed || this.#ignoring || this.#queue.length > 0) this.#linger();
    else this.#closeSocket();
  }

  /**
   * Where the kernel has every byte, close() says all that a shutdown() before it would (one system call less). Not at once:
   * node is in the middle of the callback of the last write, and makes an error with a stack for each stream that was
   * destroyed meanwhile (8 % of a connection).
   */
  #closeSocket(): void {
    if (this.socket.writableLength === 0) process.nextTick(destroySocket, this.socket);
    else Socket.prototype.destroySoon.call(this.socket);
  }

  /**
   * What still comes is no request any more. The parser would make one of each all the same, and node would keep them until
   * the connection ends: a listener to the bytes takes it off the socket.
   */
  #readIntoNothing(): void {
    this.socket.removeAllListeners('data');
    this.socket.on('data', ignore);
    this.socket.resume();
  }

  #linger(): void {
    this.#lingering = true;
    this.#dropQueue();
    this.socket.end();
    this.#readIntoNothing();
    this.#idleAtBytes = this.socket.bytesRead;
    this.beginLingering();
  }

  #lingerOn(): void {
    if (!this.receiving || !this.mayLinger) {
      this.socket.destroy();
      return;
    }
    this.#idleAtBytes = this.socket.bytesRead;
    this.arm(LINGER_IDLE_MS);
  }

  protected override onDue(): void {
    if (this.#lingering) {
      this.#lingerOn();
      return;
    }
    if (this.current !== null) {
      this.#probe(this.current);
      return;
    }
    // A head that has begun is under the parser's deadline, and gets its 408. Empty lines begin none (RFC 9112 §2.2), and
    // would keep the connection open for ever: whatever came is given the time of a head, once.
    if (this.receiving && !this.#overdue) {
      this.#overdue = true;
      const headMs = this.owner.plan.timeouts.headersMs + HEAD_CHECKS * HEAD_CHECK_MS;
      this.arm(headMs);
    } else this.socket.destroy();
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

function ignore(): void {
  // Into nothing.
}

function destroySocket(socket: Socket): void {
  socket.destroy();
}

function pauseSocket(socket: Socket): void {
  socket.pause();
}
