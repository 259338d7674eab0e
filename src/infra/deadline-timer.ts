/**
 * The coarse timer of a worker: a list of deadlines that one interval goes through. Whatever waits on the request path
 * (connect, response head, body, keep-alive) owns a Deadline. To arm one is a store into a field: no timer, closure or
 * allocation per request. The interval stops while the list is empty, so that an idle process sleeps.
 *
 * A deadline fires no earlier than asked for, and at most one tick later.
 */
import type { Clock } from '../contract/clock.ts';
import { NOWHERE, type Placed, PlacedList } from './placed-list.ts';

const NEVER = Number.POSITIVE_INFINITY;

/** Deadline is owned by one object for its whole life; arm and disarm it as often as needed. */
export class Deadline implements Placed {
  /** Monotonic ms, or Infinity while disarmed; written by the timer only. */
  dueMs = NEVER;
  /** In the timer's list. */
  place = NOWHERE;
  readonly onDue: () => void;

  constructor(onDue: () => void) {
    this.onDue = onDue;
  }

  get armed(): boolean {
    return this.dueMs !== NEVER;
  }
}

const DEFAULT_TICK_MS = 100;

/** Empty ticks before the interval stops: a request now and then must not start and stop it each time. */
const TICKS_BEFORE_REST = 10;
/** When two ticks are further apart than this many, the event loop stood still. */
const LATE_TICKS = 2;

interface DeadlineTimerOptions {
  clock: Clock;
  tickMs?: number;
  /** Called when an onDue throws; the other deadlines of the tick still fire. */
  onError: (error: unknown) => void;
}

export class DeadlineTimer {
  readonly #tickMs: number;
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  readonly #list = new PlacedList<Deadline>();
  #interval: NodeJS.Timeout | null = null;
  #started = false;
  #emptyTicks = 0;
  #lastTickMs = 0;

  constructor(options: DeadlineTimerOptions) {
    this.#tickMs = options.tickMs ?? DEFAULT_TICK_MS;
    this.#clock = options.clock;
    this.#onError = options.onError;
  }

  /** start begins ticking while there is something to watch; the interval does not keep the process alive. Composition roots call it once. */
  start(): void {
    this.#started = true;
    this.#wake();
  }

  stop(): void {
    this.#started = false;
    this.#rest();
  }

  /** The clock that deadlines are measured by. */
  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  /** Whether no interval runs; for tests. */
  get resting(): boolean {
    return this.#interval === null;
  }

  /** arm (re)starts a deadline: it fires once, delayMs from now (0: with the next tick), unless armed again or disarmed before. */
  arm(deadline: Deadline, delayMs: number): void {
    if (this.#interval === null && this.#started) this.#wake();
    // Not from the last tick on: behind a stall of the event loop that may be seconds ago.
    deadline.dueMs = this.#clock.monotonicMs() + delayMs;
    this.#list.add(deadline);
  }

  /** disarm is for owners that will arm again soon: the entry leaves the list with the next tick. */
  disarm(deadline: Deadline): void {
    deadline.dueMs = NEVER;
  }

  /**
   * forget is for owners that end: the entry leaves the list at once. Left there it would keep its owner alive until the
   * tick, and with thousands of short connections a second the collector would copy them all.
   */
  forget(deadline: Deadline): void {
    deadline.dueMs = NEVER;
    this.#list.remove(deadline);
  }

  /** tick is public for tests with a fake clock; start() calls it otherwise. */
  tick(): void {
    const nowMs = this.#clock.monotonicMs();
    const { items: list } = this.#list;
    if (list.length > 0) this.#emptyTicks = 0;
    else if (++this.#emptyTicks >= TICKS_BEFORE_REST) this.#rest();
    // Backwards: what takes the place of a removed entry comes from behind and has been looked at already.
    for (let i = list.length - 1; i >= 0; i--) {
      const deadline = list[i];
      // Absent where an onDue had others forgotten.
      if (deadline === undefined || (deadline.dueMs > nowMs && deadline.dueMs !== NEVER)) continue;
      // Removed before firing: onDue may arm this or any other deadline again.
      const due = deadline.dueMs !== NEVER;
      this.forget(deadline);
      if (due) this.#fire(deadline);
    }
  }

  /** Entries that the next tick will look at, disarmed ones included; for tests and bounds. */
  get size(): number {
    return this.#list.items.length;
  }

  #wake(): void {
    if (this.#interval !== null) return;
    this.#emptyTicks = 0;
    this.#lastTickMs = this.#clock.monotonicMs();
    this.#interval = setInterval(() => this.#onInterval(), this.#tickMs).unref();
  }

  /**
   * After a stall of the event loop the awaited bytes may lie unread in the kernel, because timers run before reads. So the
   * deadlines are checked after the reads.
   */
  #onInterval(): void {
    const nowMs = this.#clock.monotonicMs();
    const isLate = nowMs - this.#lastTickMs > LATE_TICKS * this.#tickMs;
    this.#lastTickMs = nowMs;
    if (isLate) setImmediate(() => this.#onLate());
    else this.tick();
  }

  /** It may have been stopped meanwhile. */
  #onLate(): void {
    if (this.#started) this.tick();
  }

  #rest(): void {
    if (this.#interval !== null) clearInterval(this.#interval);
    this.#interval = null;
  }

  #fire(deadline: Deadline): void {
    try {
      deadline.onDue();
    } catch (error) {
      this.#onError(error);
    }
  }
}
