/**
 * The circuit breaker of one server of the bucket store; each node of a Redis Cluster has its own. Only StoreHealth moves it.
 * The states:
 *
 * closed: takes are sent. `fail`, FAILURES_TO_OPEN times in a row, → open. `silence` → open: no call was answered within a whole
 *   deadline. `away` → open: there is no connection.
 * open: no request waits for the server; limits are kept locally. Every PROBE_EVERY_MS ± PROBE_JITTER a probe is sent, for which
 *   no request waits. `succeed` → closed, after any answer. An error about one bucket is an answer.
 */
import type { Timers } from '../timers.ts';

export const FAILURES_TO_OPEN = 5;
export const PROBE_EVERY_MS = 250;
export const PROBE_JITTER = 0.2;

interface BreakerOptions {
  /** Sends one probe; its outcome is reported by succeed, fail or silence. */
  probe: () => void;
  /** Called at each change of state; `reason` is for the log. */
  onChange: (open: boolean, reason: string) => void;
  random: () => number;
  timers: Timers;
}

export class Breaker {
  /** The server's name; '' where the store has only one. */
  readonly server: string;
  /** When the server last answered a call; monotonic. */
  lastHeardMs = Number.NEGATIVE_INFINITY;
  /** The error of the last failed call, for the log. */
  lastError: Error | null = null;
  /** The name of the last probe's bucket, see probeKey. */
  probeName = 0;
  readonly #options: BreakerOptions;
  #failures = 0;
  #open = false;
  #cancelProbe: (() => void) | null = null;

  constructor(server: string, options: BreakerOptions) {
    this.server = server;
    this.#options = options;
  }

  get open(): boolean {
    return this.#open;
  }

  /** succeed: the server answered a call. */
  succeed(): void {
    this.#failures = 0;
    if (!this.#open) return;
    this.#open = false;
    this.close();
    this.#options.onChange(false, 'it answers again');
  }

  /** fail: a call ended with an error, or by its deadline although others were answered. */
  fail(): void {
    this.#failures++;
    if (this.#failures >= FAILURES_TO_OPEN) this.#trip(`${this.#failures} calls in a row failed`);
  }

  /** silence: the server answered nothing within a whole deadline. */
  silence(): void {
    this.#failures++;
    this.#trip('it answered nothing within the deadline');
  }

  /** away: there is no connection to the server. */
  away(): void {
    this.#trip('there is no connection to it');
  }

  /** close stops the probes. */
  close(): void {
    this.#cancelProbe?.();
    this.#cancelProbe = null;
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
}
