/** Keeps a failure that everybody meets out of the log but once: what others send or fail at must not fill a disk. */
import type { Clock } from '../../contract/clock.ts';

const PERIOD_MS = 1_000;
/** Kinds of one second; further ones are left out. */
const MAX_KINDS = 100;

/** OncePerSecond is asked before each line about something that other machines can cause at will. */
export class OncePerSecond {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #kinds = new Set<string>();
  #sinceMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** allows: whether this kind of line was not written in this second yet. */
  allows(kind: string): boolean {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#sinceMs >= PERIOD_MS) {
      this.#sinceMs = nowMs;
      this.#kinds.clear();
    }
    if (this.#kinds.has(kind) || this.#kinds.size >= MAX_KINDS) return false;
    this.#kinds.add(kind);
    return true;
  }
}
