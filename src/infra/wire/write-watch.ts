/**
 * Gives up a peer that takes no bytes for a while, because it holds a connection and a buffer. A connection makes its watch
 * when its wire is first blocked, which small messages never do.
 *
 * Progress is what the kernel takes, not a finished piece: a slow peer may need longer than the deadline for one piece. The
 * watch looks LOOKS times per deadline, so a peer is given up at most one look late.
 */
import { Deadline, type DeadlineTimer } from '../deadline-timer.ts';
import type { Wire } from './wire.ts';

/** Looks per deadline. */
const LOOKS = 4;

export interface WriteWatchOptions {
  wire: Pick<Wire, 'closed' | 'blocked' | 'takenBytes'>;
  timer: DeadlineTimer;
  /** Longest time in which the peer takes nothing; asked at each look. */
  idleMs: () => number;
  /** Called once the peer is to be given up. */
  onStalled: () => void;
}

/** WriteWatch is made by connections to clients and to backends. */
export class WriteWatch {
  readonly #options: WriteWatchOptions;
  readonly #deadline = new Deadline(() => this.#look());
  #takenBytes = 0;
  /** When #takenBytes was last seen to change; monotonic. */
  #sinceMs = 0;

  constructor(options: WriteWatchOptions) {
    this.#options = options;
  }

  /** blocked says that the wire has bytes to send. When they have left, the next look finds out: nobody need tell. */
  blocked(): void {
    if (this.#deadline.armed) return;
    this.#note(this.#options.wire.takenBytes);
    this.#arm();
  }

  /** rest ends the watch until the wire is blocked again. */
  rest(): void {
    this.#options.timer.disarm(this.#deadline);
  }

  /** forget ends it with its connection. */
  forget(): void {
    this.#options.timer.forget(this.#deadline);
  }

  #note(takenBytes: number): void {
    this.#takenBytes = takenBytes;
    this.#sinceMs = this.#options.timer.monotonicMs();
  }

  #arm(): void {
    this.#options.timer.arm(this.#deadline, this.#options.idleMs() / LOOKS);
  }

  #look(): void {
    const { wire, timer, idleMs, onStalled } = this.#options;
    if (wire.closed || !wire.blocked) return;
    const { takenBytes } = wire;
    if (takenBytes !== this.#takenBytes) this.#note(takenBytes);
    else if (timer.monotonicMs() - this.#sinceMs >= idleMs()) {
      onStalled();
      return;
    }
    this.#arm();
  }
}
