/**
 * Calls back when leased tokens are to be returned although no request comes: one timer for all buckets of a worker. Unlike a
 * DeadlineQueue it makes no allowance for a late event loop: the store's clock goes on meanwhile.
 */
import type { Clock } from '../../contract/clock.ts';
import type { Timers } from '../timers.ts';

interface Entry<T> {
  owner: T;
  dueMs: number;
}

interface LeaseAgingOptions<T> {
  clock: Pick<Clock, 'monotonicMs'>;
  timers: Timers;
  /** Called once for each add, when it is due or a little later. */
  onDue: (owner: T) => void;
}

export class LeaseAging<T> {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #timers: Timers;
  readonly #onDue: (owner: T) => void;
  /** In the order of adding, which is nearly that of dueMs: calls may overtake each other. */
  #entries: Entry<T>[] = [];
  #stop: (() => void) | null = null;

  constructor(options: LeaseAgingOptions<T>) {
    this.#clock = options.clock;
    this.#timers = options.timers;
    this.#onDue = options.onDue;
  }

  add(owner: T, dueMs: number): void {
    this.#entries.push({ owner, dueMs });
    if (this.#stop === null) this.#arm(dueMs);
  }

  /** close stops the timer and returns all who wait, each once. */
  close(): Set<T> {
    this.#stop?.();
    this.#stop = null;
    const owners = new Set(this.#entries.map((entry) => entry.owner));
    this.#entries = [];
    return owners;
  }

  #arm(dueMs: number): void {
    const delayMs = Math.max(1, dueMs - this.#clock.monotonicMs());
    this.#stop = this.#timers.after(delayMs, () => this.#tick());
  }

  #tick(): void {
    this.#stop = null;
    const nowMs = this.#clock.monotonicMs();
    const firstLater = this.#entries.findIndex((entry) => entry.dueMs > nowMs);
    const due = this.#entries.splice(0, firstLater === -1 ? this.#entries.length : firstLater);
    for (const { owner } of due) this.#onDue(owner);
    const next = this.#entries[0];
    if (next !== undefined && this.#stop === null) this.#arm(next.dueMs);
  }
}
