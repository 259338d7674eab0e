/**
 * How many retries of a pool may be in flight (B9). When all backends fail, retries would double the load on them; with the budget they
 * add budgetPercent to it at most.
 *
 * Invariant: inFlight ≤ max(this worker's share of minConcurrent, budgetPercent of the worker's active requests), when one begins.
 * A retry after a failed connection takes no permit: nothing was sent, so backends get no more requests than there are. One that has a
 * permit keeps it.
 */
import type { PlaceAmongWorkers } from '../contract/messages.ts';
import type { RetrySettings } from '../contract/pool-settings.ts';
import { shareOf } from './share.ts';

/** Retries that wait for a permit; a bound on memory that a machine with so many failures does not notice. */
const WAITING_MAX = 1024;

/** RetryBudget is made once per pool and worker; plans pass it on. */
export class RetryBudget {
  /** Requests of the pool in progress; written by their Attempts. */
  active = 0;
  #inFlight = 0;
  #percent = 0;
  #min = 1;
  /** In order of arrival; a Set, because a client may leave from its middle. */
  readonly #waiting = new Set<{ onPermit(): void }>();

  /** configure is called with each plan. */
  configure({ budgetPercent, minConcurrent }: RetrySettings, place: PlaceAmongWorkers): void {
    this.#percent = budgetPercent;
    this.#min = shareOf(minConcurrent, place);
  }

  /** Whether a further retry may begin. */
  get #isFree(): boolean {
    return this.#inFlight < Math.max(this.#min, Math.floor((this.active * this.#percent) / 100));
  }

  /** take takes a permit, if one is free and nobody waits for it. It is given back by `give`. */
  take(): boolean {
    if (this.#waiting.size > 0 || !this.#isFree) return false;
    this.#inFlight += 1;
    return true;
  }

  /** give is called when the head of the answer has come, or the attempt has failed. */
  give(): void {
    this.#inFlight -= 1;
    for (const waiter of this.#waiting) {
      if (!this.#isFree) break;
      this.#waiting.delete(waiter);
      this.#inFlight += 1;
      waiter.onPermit();
    }
  }

  /** wait: onPermit is called with a permit, later. @returns false where too many wait */
  wait(waiter: { onPermit(): void }): boolean {
    if (this.#waiting.size >= WAITING_MAX) return false;
    this.#waiting.add(waiter);
    return true;
  }

  /** leave ends a wait. */
  leave(waiter: { onPermit(): void }): void {
    this.#waiting.delete(waiter);
  }
}
