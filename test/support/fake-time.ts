import type { Clock } from '../../src/contract/clock.ts';
import { DeadlineTimer } from '../../src/infra/deadline-timer.ts';
import { waitFor } from './wait.ts';

export const TICK_MS = 20;

/** FakeTime is a clock that the test moves, with a timer. `pass` throws what a deadline throws. */
export class FakeTime {
  nowMs = 0;
  /** By how much the wall clock was set forward, or back. */
  steppedMs = 0;
  #readCount = 0;
  readonly clock: Clock = {
    monotonicMs: () => {
      this.#readCount += 1;
      return this.nowMs;
    },
    wallMs: () => this.nowMs + this.steppedMs,
  };
  readonly timer = new DeadlineTimer({
    clock: this.clock,
    tickMs: TICK_MS,
    onError: (error) => {
      throw error;
    },
  });

  /** ticks waits until another timer with this clock, which runs by itself, has looked at it several times. */
  async ticks(): Promise<void> {
    const before = this.#readCount;
    await waitFor('the timer to tick', () => this.#readCount > before + 10);
  }

  /** pass moves the clock, tick by tick. */
  pass(ms: number, eachTick?: () => void): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs += TICK_MS;
      eachTick?.();
      this.timer.tick();
    }
  }
}
