/**
 * The coarse timer of a worker: one interval that goes through a list of deadlines. Whatever waits on the request path (for a
 * connection, a head, a body) owns a Deadline; arming it allocates nothing. A deadline fires no earlier than asked for, and at
 * most one tick later. The interval stops while the list is empty, so that an idle process sleeps.
 */
import type { Clock } from '../contract/clock.ts';
import { NOWHERE, type Placed, PlacedList } from './placed-list.ts';

const NEVER = Number.POSITIVE_INFINITY;

/** Deadline is made once by what waits, and armed and disarmed as often as needed. */
export class Deadline implements Placed {
  /** Monotonic; Infinity while disarmed. Written by the timer only, as `place` is. */
  dueMs = NEVER;
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
/** Ticks without deadlines before the interval stops: a request now and then must not start and stop it each time. */
const TICKS_BEFORE_REST = 10;
/** The event loop stood still if two ticks are further apart than this many. */
const LATE_TICKS = 2;

export class DeadlineTimer {
  readonly #tickMs: number;
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  readonly #list = new PlacedList<Deadline>();
  #interval: NodeJS.Timeout | null = null;
  #started = false;
  #emptyTicks = 0;
  #lastTickMs = 0;

  /** @param options onError: called when an onDue throws; the other deadlines of the tick still fire */
  constructor(options: { clock: Clock; tickMs?: number; onError: (error: unknown) => void }) {
    this.#tickMs = options.tickMs ?? DEFAULT_TICK_MS;
    this.#clock = options.clock;
    this.#onError = options.onError;
  }

  /** start is called once per process. The interval does not keep the process alive. */
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

  /** Whether the interval is stopped; for tests. */
  get resting(): boolean {
    return this.#interval === null;
  }

  /** arm makes a deadline fire once, delayMs from now (0: with the next tick). It replaces an earlier arm. */
  arm(deadline: Deadline, delayMs: number): void {
    if (this.#interval === null && this.#started) this.#wake();
    // Not from the last tick on, which after a stall of the event loop may be seconds ago.
    deadline.dueMs = this.#clock.monotonicMs() + delayMs;
    this.#list.add(deadline);
  }

  /** disarm is for owners that will arm again soon: the deadline leaves the list with the next tick. */
  disarm(deadline: Deadline): void {
    deadline.dueMs = NEVER;
  }

  /**
   * remove is for owners that end: the deadline leaves the list at once. In the list it would keep its owner alive until the tick,
   * and the garbage collector would copy thousands of short connections.
   */
  remove(deadline: Deadline): void {
    deadline.dueMs = NEVER;
    this.#list.remove(deadline);
  }

  /** tick is called by the interval, and by tests with a fake clock. @param nowMs what is due then fires */
  tick(nowMs = this.#clock.monotonicMs()): void {
    const { items: list } = this.#list;
    if (list.length > 0) this.#emptyTicks = 0;
    else if (++this.#emptyTicks >= TICKS_BEFORE_REST) this.#rest();
    // Backwards: the last entry, which takes the place of a removed one, was looked at already.
    for (let i = list.length - 1; i >= 0; i--) {
      const deadline = list[i];
      // undefined if an onDue removed several.
      if (deadline === undefined || (deadline.dueMs > nowMs && deadline.dueMs !== NEVER)) continue;
      // Removed before it fires: onDue may arm this or any other deadline again.
      const due = deadline.dueMs !== NEVER;
      this.remove(deadline);
      if (due) this.#fire(deadline);
    }
  }

  /** Deadlines in the list, disarmed ones included; for tests. */
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
   * After a stall, the awaited bytes may still be in the kernel, because timers run before reads: the tick comes after the reads. It
   * is one of now, because the reads may stall the loop again, and hold up what comes meanwhile.
   */
  #onInterval(): void {
    const nowMs = this.#clock.monotonicMs();
    const isLate = nowMs - this.#lastTickMs > LATE_TICKS * this.#tickMs;
    this.#lastTickMs = nowMs;
    if (!isLate) this.tick();
    else setImmediate(() => this.#started && this.tick(nowMs));
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
