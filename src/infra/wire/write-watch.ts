/**
 * Keeps an eye on bytes that do not leave: a peer that takes none of them for a while is given up, because it holds a
 * connection and a buffer. Made for a connection the first time its wire is blocked, which small messages never see.
 *
 * What counts is what the kernel takes, not that a piece is through: a slow peer may need longer for one piece than the
 * deadline. Looking a few times per deadline costs nothing while data flows; the price is that a peer is given up at most
 * one look late.
 */
import { Deadline, type DeadlineWheel } from '../deadline-wheel.ts';
import type { Wire } from './wire.ts';

/** Looks per deadline. */
const LOOKS = 4;

export interface WriteWatchOptions {
  wire: Pick<Wire, 'closed' | 'blocked' | 'takenBytes'>;
  wheel: DeadlineWheel;
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
    this.#options.wheel.disarm(this.#deadline);
  }

  /** forget ends it with its connection. */
  forget(): void {
    this.#options.wheel.forget(this.#deadline);
  }

  #note(takenBytes: number): void {
    this.#takenBytes = takenBytes;
    this.#sinceMs = this.#options.wheel.monotonicMs();
  }

  #arm(): void {
    this.#options.wheel.arm(this.#deadline, this.#options.idleMs() / LOOKS);
  }

  #look(): void {
    const { wire, wheel, idleMs, onStalled } = this.#options;
    if (wire.closed || !wire.blocked) return;
    const { takenBytes } = wire;
    if (takenBytes !== this.#takenBytes) this.#note(takenBytes);
    else if (wheel.monotonicMs() - this.#sinceMs >= idleMs()) {
      onStalled();
      return;
    }
    this.#arm();
  }
}
