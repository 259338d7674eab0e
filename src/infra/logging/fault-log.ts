/** Lines about what other machines can cause at will: they must not fill a disk, nor crowd out other lines. */
import type { Clock } from '../../contract/clock.ts';

const PERIOD_MS = 1_000;
/** Kinds of one second. Faults of further ones are left out, and counted in the next line. */
const MAX_KINDS = 100;

/** FaultLog logs faults of one sort, each kind once per second at most. */
export class FaultLog {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #write: (facts: object) => void;
  readonly #kinds = new Set<string>();
  #leftOut = 0;
  #sinceMs = Number.NEGATIVE_INFINITY;

  /** @param write writes the line; `leftOut` in the facts: how many faults of other kinds had none since the line before */
  constructor(clock: Pick<Clock, 'monotonicMs'>, write: (facts: object) => void) {
    this.#clock = clock;
    this.#write = write;
  }

  /** note is called with each fault. */
  note(kind: string, facts: object): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#sinceMs >= PERIOD_MS) {
      this.#sinceMs = nowMs;
      this.#kinds.clear();
    }
    if (this.#kinds.has(kind)) return;
    if (this.#kinds.size >= MAX_KINDS) {
      this.#leftOut++;
      return;
    }
    this.#kinds.add(kind);
    this.#write(this.#leftOut === 0 ? facts : { ...facts, leftOut: this.#leftOut });
    this.#leftOut = 0;
  }
}
