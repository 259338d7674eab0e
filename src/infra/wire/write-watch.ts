/**
 * Notices a peer that takes no bytes for a while. Progress is what the kernel takes, not a finished piece, which may take a slow
 * peer longer than the deadline. The watch looks LOOKS times per deadline, and four times a second at least, so it is at most one look late.
 */

import type { Wire } from '../../contract/wire.ts';
import { Deadline, type DeadlineTimer } from '../deadline-timer.ts';

const LOOKS = 4;
/** A peer that takes nothing for this long is slow. */
export const SLOW_MS = 250;

export interface WriteWatchOptions {
  wire: Pick<Wire, 'closed' | 'blocked' | 'takenBytes'>;
  timer: DeadlineTimer;
  /** Longest time in which the peer may take nothing; asked at each look. */
  idleMs: () => number;
  /** The peer has taken nothing for SLOW_MS; called at each look, as long as that lasts. */
  onSlow?: () => void;
  /** The peer has taken nothing for idleMs. */
  onStalled: () => void;
}

/** WriteWatch is made by a connection when its wire is first blocked, which small messages never do. */
export class WriteWatch {
  readonly #options: WriteWatchOptions;
  readonly #deadline = new Deadline(() => this.#look());
  #takenBytes = 0;
  /** When #takenBytes last changed, as far as was seen; monotonic. */
  #sinceMs = 0;

  constructor(options: WriteWatchOptions) {
    this.#options = options;
  }

  /** start is called while the wire is blocked. When it is no longer, the next look ends the watch. */
  start(): void {
    if (this.#deadline.armed) return;
    this.#note(this.#options.wire.takenBytes);
    this.#arm();
  }

  /** stop ends the watch until the next start. */
  stop(): void {
    this.#options.timer.disarm(this.#deadline);
  }

  /** close is called when the connection ends. */
  close(): void {
    this.#options.timer.remove(this.#deadline);
  }

  #note(takenBytes: number): void {
    this.#takenBytes = takenBytes;
    this.#sinceMs = this.#options.timer.monotonicMs();
  }

  #arm(): void {
    this.#options.timer.arm(this.#deadline, Math.min(SLOW_MS, this.#options.idleMs() / LOOKS));
  }

  #look(): void {
    const { wire, timer, idleMs, onSlow, onStalled } = this.#options;
    if (wire.closed || !wire.blocked) return;
    const { takenBytes } = wire;
    if (takenBytes !== this.#takenBytes) this.#note(takenBytes);
    else {
      const silentMs = timer.monotonicMs() - this.#sinceMs;
      if (silentMs >= idleMs()) {
        onStalled();
        return;
      }
      if (silentMs >= SLOW_MS) onSlow?.();
    }
    this.#arm();
  }
}
