/**
 * Keeps an eye on an answer that does not leave: a client that takes nothing of it for `timeouts.writeIdle` is given up,
 * because it holds a connection, one to a backend and a body buffer. Made for a connection the first time its socket
 * takes less than it was given, which small answers never see.
 *
 * What counts is what the kernel takes, not that a piece is through: a slow client may need longer for one piece than
 * the deadline. Looking a few times per deadline costs nothing while data flows; the price is that a client is cut up
 * to one look late.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../contract/clock.ts';
import { Deadline, type DeadlineWheel } from '../infra/deadline-wheel.ts';

/** Looks per deadline. */
const LOOKS = 4;

/** What a watch needs of the server; implemented by InboundServer. */
export interface SendWatchOwner {
  readonly wheel: DeadlineWheel;
  readonly clock: Clock;
  /** Longest time in which a client takes nothing; read at each look. */
  readonly writeIdleMs: number;
}

export class SendWatch {
  readonly #socket: Socket;
  readonly #owner: SendWatchOwner;
  readonly #onStalled: () => void;
  readonly #deadline = new Deadline(() => this.#look());
  #takenBytes = 0;
  /** When #takenBytes was last seen to change; monotonic. */
  #sinceMs = 0;

  /** @param onStalled is called once the client is to be cut */
  constructor(socket: Socket, owner: SendWatchOwner, onStalled: () => void) {
    this.#socket = socket;
    this.#owner = owner;
    this.#onStalled = onStalled;
  }

  /** blocked says that the socket has bytes to send. When they have left, the next look finds out: nobody tells. */
  blocked(): void {
    if (this.#deadline.armed) return;
    this.#note(takenBytesOf(this.#socket));
    this.#arm();
  }

  /** forget ends it with its connection. */
  forget(): void {
    this.#owner.wheel.forget(this.#deadline);
  }

  #note(takenBytes: number): void {
    this.#takenBytes = takenBytes;
    this.#sinceMs = this.#owner.clock.monotonicMs();
  }

  #arm(): void {
    this.#owner.wheel.arm(this.#deadline, this.#owner.writeIdleMs / LOOKS);
  }

  #look(): void {
    if (this.#socket.destroyed || !hasWaiting(this.#socket)) return;
    const takenBytes = takenBytesOf(this.#socket);
    if (takenBytes !== this.#takenBytes) this.#note(takenBytes);
    else if (this.#owner.clock.monotonicMs() - this.#sinceMs >= this.#owner.writeIdleMs) {
      this.#onStalled();
      return;
    }
    this.#arm();
  }
}

/** The counters behind node's own socket timer, which a client that only sends would wind up again and again. */
interface CountingHandle {
  /** Bytes handed to the handle. */
  bytesWritten?: unknown;
  /** Those of them that the kernel has not taken. */
  writeQueueSize?: unknown;
}

type CountedSocket = Socket & { _handle?: CountingHandle | null };

/** hasWaiting tells whether the kernel has not taken all of it. Texts may wait below the stream (infra/text-writes.ts), which knows nothing of them. */
export function hasWaiting(socket: Socket): boolean {
  const { _handle: handle } = socket as CountedSocket;
  const belowBytes = handle?.writeQueueSize;
  return socket.writableLength > 0 || (typeof belowBytes === 'number' && belowBytes > 0);
}

/** Bytes that the kernel has taken; on a node without these counters, those of the pieces it has taken as a whole. */
function takenBytesOf(socket: Socket): number {
  const { _handle: handle } = socket as CountedSocket;
  const { bytesWritten, writeQueueSize } = handle ?? {};
  if (typeof bytesWritten === 'number' && typeof writeQueueSize === 'number')
    return bytesWritten - writeQueueSize;
  return socket.bytesWritten - socket.writableLength;
}
