/**
 * The one coarse timer of a worker. Everything on the request path that must not wait for ever (connect, response head,
 * body silence, idle keep-alive connections) owns a Deadline and arms it; one interval looks at all of them. Arming
 * is a store into a field, so a request that arms and disarms three deadlines creates no timer, closure or allocation.
 * A wheel that has had nothing to watch for a while rests until the next arming, so that an idle process sleeps.
 *
 * Accuracy: a deadline fires no earlier than asked for and at most one tick later.
 */
import type { Clock } from '../contract/clock.ts';
import { NOWHERE, type Placed, PlacedList } from './placed-list.ts';

const NEVER = Number.POSITIVE_INFINITY;

/** Deadline is owned by one object for its whole life; arm and disarm it as often as needed. */
export class Deadline implements Placed {
  /** Monotonic ms, or Infinity while disarmed; written by the wheel only. */
  dueMs = NEVER;
  /** In the wheel's list. */
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

/** Ticks with nothing to watch before the wheel rests: a request every now and then shall not start and stop it each time. */
const TICKS_BEFORE_REST = 10;
/** So many ticks from one to the next mean that the event loop stood still. */
const LATE_TICKS = 2;

interface DeadlineWheelOptions {
  clock: Clock;
  tickMs?: number;
  /** Called when an onDue throws; the other deadlines of the tick still fire. */
  onError: (error: unknown) => void;
}

export class DeadlineWheel {
  readonly #tickMs: number;
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  readonly #list = new PlacedList<Deadline>();
  #timer: NodeJS.Timeout | null = null;
  #started = false;
  #emptyTicks = 0;
  #lastTickMs = 0;

  constructor(options: DeadlineWheelOptions) {
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
    return this.#timer === null;
  }

  /** arm (re)starts a deadline: it fires once, delayMs from now (0: with the next tick), unless armed again or disarmed before. */
  arm(deadline: Deadline, delayMs: number): void {
    if (this.#timer === null && this.#started) this.#wake();
    // Not from the last tick on: behind a stall of the event loop that may be seconds ago.
    deadline.dueMs = this.#clock.monotonicMs() + delayMs;
    this.#list.add(deadline);
  }

  /** disarm is a store: the list forgets the entry at the next tick. For owners that will arm it again soon. */
  disarm(deadline: Deadline): void {
    deadline.dueMs = NEVER;
  }

  /**
   * forget disarms a deadline whose owner has ended. An entry that stays until the tick keeps all of its owner alive: at
   * thousands of short connections a second that is what the collector copies from one scavenge to the next.
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
    if (this.#timer !== null) return;
    this.#emptyTicks = 0;
    this.#lastTickMs = this.#clock.monotonicMs();
    this.#timer = setInterval(() => this.#onInterval(), this.#tickMs).unref();
  }

  /**
   * Behind a stall of the event loop what was waited for may lie in the kernel, unread: timers come before reads. The
   * deadlines are looked at behind those.
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
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #fire(deadline: Deadline): void {
    try {
      deadline.onDue();
    } catch (error) {
      this.#onError(error);
    }
  }
}
