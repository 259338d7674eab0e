/**
 * The breaker between the limiter and its store.
 *
 * closed: takes go to the store. Opens after FAILURES_TO_OPEN failed calls in a row, at once after a call that the store
 *   left unanswered for its whole deadline while it answered nothing else, and at once where the store says itself that
 *   it is away.
 * open: no request waits for the store. One probe per PROBE_EVERY_MS ± PROBE_JITTER, which holds nobody, asks whether it
 *   is back. Any success closes.
 */
export const FAILURES_TO_OPEN = 5;
export const PROBE_EVERY_MS = 250;
export const PROBE_JITTER = 0.2;

export interface BreakerTimers {
  /** Runs fn once after delayMs and returns how to cancel that. */
  after(delayMs: number, fn: () => void): () => void;
}

/** realTimers never keep the process alive. */
export const realTimers: BreakerTimers = {
  after(delayMs, fn) {
    const timer = setTimeout(fn, delayMs).unref();
    return () => clearTimeout(timer);
  },
};

interface BreakerOptions {
  /** Sends one probe and reports back through succeed, fail or silence. */
  probe: () => void;
  /** Called at each change of state; `reason` is a sentence for the log. */
  onChange: (open: boolean, reason: string) => void;
  random: () => number;
  timers: BreakerTimers;
}

export class Breaker {
  readonly #options: BreakerOptions;
  #failures = 0;
  #open = false;
  #cancelProbe: (() => void) | null = null;

  constructor(options: BreakerOptions) {
    this.#options = options;
  }

  get open(): boolean {
    return this.#open;
  }

  /** succeed: the store answered a call. */
  succeed(): void {
    this.#failures = 0;
    if (!this.#open) return;
    this.#open = false;
    this.#cancel();
    this.#options.onChange(false, 'it answers again');
  }

  /** fail: a call ended with an error, or with a deadline while others were answered. */
  fail(): void {
    this.#failures++;
    if (this.#failures >= FAILURES_TO_OPEN) this.#trip(`${this.#failures} calls in a row failed`);
  }

  /** silence: a deadline passed in which the store answered nothing at all. */
  silence(): void {
    this.#failures++;
    this.#trip('it answered nothing within the deadline');
  }

  /** away: the store knows that it has no connection. */
  away(): void {
    this.#trip('there is no connection to it');
  }

  close(): void {
    this.#cancel();
  }

  #trip(reason: string): void {
    if (this.#open) return;
    this.#open = true;
    this.#options.onChange(true, reason);
    this.#schedule();
  }

  #schedule(): void {
    const { random, timers, probe } = this.#options;
    const delayMs = PROBE_EVERY_MS * (1 + (2 * random() - 1) * PROBE_JITTER);
    this.#cancelProbe = timers.after(delayMs, () => {
      this.#schedule();
      probe();
    });
  }

  #cancel(): void {
    this.#cancelProbe?.();
    this.#cancelProbe = null;
  }
}
