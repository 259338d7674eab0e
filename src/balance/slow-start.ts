/** Slow start (B7): a backend that takes requests again, or is new, rises from a tenth of its weight to all of it. */
import { Deadline, type DeadlineTimer } from '../infra/deadline-timer.ts';
import type { Backend } from './backend.ts';

const FIRST_SHARE = 0.1;
const STEP_MS = 100;

interface Ramp {
  fromMs: number;
  durationMs: number;
}

/** SlowStart is made once per worker. While no backend rises it does nothing; `pick` reads the weights that it sets. */
export class SlowStart {
  readonly #timer: DeadlineTimer;
  readonly #ramps = new Map<Backend, Ramp>();
  readonly #step = new Deadline(() => this.#rise());

  constructor(timer: DeadlineTimer) {
    this.#timer = timer;
  }

  /** set is called with what the primary says of a backend. @param rampedMs since its rise began; null: it does not rise */
  set(backend: Backend, rampedMs: number | null, durationMs: number): void {
    this.#ramps.delete(backend);
    backend.share = 1;
    if (rampedMs === null) return;
    this.#ramps.set(backend, { fromMs: this.#timer.monotonicMs() - rampedMs, durationMs });
    this.#rise();
  }

  #rise(): void {
    const nowMs = this.#timer.monotonicMs();
    for (const [backend, { fromMs, durationMs }] of this.#ramps) {
      const share = Math.min(1, FIRST_SHARE + ((1 - FIRST_SHARE) * (nowMs - fromMs)) / durationMs);
      backend.share = share;
      if (share === 1) this.#ramps.delete(backend);
    }
    if (this.#ramps.size > 0) this.#timer.arm(this.#step, STEP_MS);
  }
}
