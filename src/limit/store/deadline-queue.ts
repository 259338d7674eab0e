/**
 * Deadlines of whoever waits for the bucket store (B32). All calls of a queue may wait equally long, so the oldest is due first
 * and one timer serves them all.
 *
 * A stall of this process is not a failure of the store: the reply may wait in the socket. So lateness of the event loop does not
 * count, and a call that is due is given up only after the loop has polled its sockets once more.
 */
import type { Clock } from '../../contract/clock.ts';
import type { Timers } from '../timers.ts';

/** The timer fires this often per time-out, so that a late event loop is noticed. */
const SLICES = 4;
/** Timers have whole milliseconds, so less is not late. */
const TOLERANCE_MS = 1;

/** Whatever waits. Whoever settles it sets the flag; the queue drops it later. */
export interface Pending {
  settled: boolean;
}

interface Entry<T> {
  call: T;
  dueMs: number;
}

export interface DeadlineOptions {
  /** How long a call may wait. */
  timeoutMs: number;
  clock: Pick<Clock, 'monotonicMs'>;
  timers: Timers;
  /** Runs fn once the event loop has polled its sockets. */
  defer: (fn: () => void) => void;
}

export class DeadlineQueue<T extends Pending> {
  readonly #options: DeadlineOptions;
  readonly #onDue: (call: T) => void;
  #entries: Entry<T>[] = [];
  #head = 0;
  /** Cancels the running timer. */
  #timer: (() => void) | null = null;
  #polling = false;
  /** When the running timer should fire. */
  #expectedMs = 0;
  /** The sum of the loop's lateness so far, counted until countedMs. */
  #lateMs = 0;
  #countedMs = 0;

  /** @param onDue called once for a call that is due and not settled */
  constructor(options: DeadlineOptions, onDue: (call: T) => void) {
    this.#options = options;
    this.#onDue = onDue;
  }

  /** add starts the deadline of a call. */
  add(call: T): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#countLateness(nowMs);
    this.#entries.push({ call, dueMs: nowMs - this.#lateMs + this.#options.timeoutMs });
    if (this.#timer === null && !this.#polling) this.#arm(nowMs);
  }

  /** How many calls are in the queue, settled ones included; for bounds. */
  get size(): number {
    return this.#entries.length - this.#head;
  }

  /** close gives up every call that is not settled, at once. */
  close(): void {
    this.#timer?.();
    this.#timer = null;
    const calls = this.#entries.splice(this.#head);
    for (const { call } of calls) if (!call.settled) this.#onDue(call);
  }

  #countLateness(nowMs: number): void {
    if (this.#timer === null) return;
    const lateFromMs = Math.max(this.#expectedMs + TOLERANCE_MS, this.#countedMs);
    if (nowMs <= lateFromMs) return;
    this.#lateMs += nowMs - lateFromMs;
    this.#countedMs = nowMs;
  }

  #arm(nowMs: number): void {
    const oldest = this.#entries[this.#head];
    if (oldest === undefined) return;
    const leftMs = oldest.dueMs - (nowMs - this.#lateMs);
    const delayMs = Math.max(1, Math.min(this.#options.timeoutMs / SLICES, leftMs));
    this.#expectedMs = nowMs + delayMs;
    this.#timer = this.#options.timers.after(delayMs, () => this.#tick());
  }

  #tick(): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#countLateness(nowMs);
    this.#timer = null;
    this.#dropSettled();
    const oldest = this.#entries[this.#head];
    if (oldest === undefined) return;
    if (oldest.dueMs > nowMs - this.#lateMs) {
      this.#arm(nowMs);
      return;
    }
    // An immediate that a timer sets runs right after the next poll.
    this.#polling = true;
    this.#options.defer(() => this.#giveUp(nowMs - this.#lateMs));
  }

  #giveUp(activeMs: number): void {
    this.#polling = false;
    for (;;) {
      const entry = this.#entries[this.#head];
      if (entry === undefined || (!entry.call.settled && entry.dueMs > activeMs)) break;
      this.#head++;
      if (!entry.call.settled) this.#onDue(entry.call);
    }
    this.#dropSettled();
    if (this.#timer === null) this.#arm(this.#options.clock.monotonicMs());
  }

  #dropSettled(): void {
    while (this.#entries[this.#head]?.call.settled === true) this.#head++;
    // Amortised cost: an entry is moved at most once per dropped entry.
    if (this.#head * 2 <= this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#head);
    this.#head = 0;
  }
}
