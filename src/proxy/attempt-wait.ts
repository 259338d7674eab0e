/**
 * What one request waits for before its next attempt. Every wait has a timer of node: the worker's own is too coarse.
 *
 * for its turn  after a failure: for a permit of the RetryBudget (PERMIT_MS), then for its back-off. Then `tryAgain`.
 * for room      every backend that could be tried next is full: in the pool's RequestQueue, before the first attempt or a further one.
 *
 * From the first failure on a deadline bounds all attempts and waits together (timeouts.response), until a head comes that is relayed.
 */
import { OUTCOMES, type Outcome } from '../contract/outcomes.ts';
import { Deadline } from '../infra/deadline-timer.ts';
import type { PlannedPool } from './plan-pool.ts';
import type { QueuedRequest } from './request-queue.ts';

/** A retry waits this long for a permit. Then the failure is the answer. */
const PERMIT_MS = 250;

/** WaitOwner is the Attempts of the request. */
interface WaitOwner extends QueuedRequest {
  /** The turn has come. */
  tryAgain(): void;
  /** No attempt follows. @param outcome default: that of the last failure */
  giveUp(outcome?: Outcome): void;
  /** The time for all attempts is over. */
  onDue(): void;
}

/** AttemptWait is made by Attempts once something waits or has failed. */
export class AttemptWait {
  /** Waited for room so far. */
  queueMs = 0;
  readonly #pool: PlannedPool;
  readonly #owner: WaitOwner;
  readonly #transaction: { crash(thrown: unknown): void };
  readonly #deadline = new Deadline(() => this.#owner.onDue());
  #timer: NodeJS.Timeout | null = null;
  #hasPermit = false;
  #backOffMs = 0;
  /** null: it is not in the queue. */
  #queuedMs: number | null = null;

  /** @param transaction see AttemptsOwner */
  constructor(pool: PlannedPool, owner: WaitOwner, transaction: { crash(thrown: unknown): void }) {
    this.#pool = pool;
    this.#owner = owner;
    this.#transaction = transaction;
  }

  /** bound begins the time that is left for all attempts. */
  bound(leftMs: number): void {
    this.#pool.timer.arm(this.#deadline, leftMs);
  }

  /** askForPermit comes before forTurn. @returns false where there is no permit now, and this request may not wait for one, or too many wait */
  askForPermit(mayWait: boolean): boolean {
    const { budget } = this.#pool;
    this.#hasPermit = budget.take();
    return this.#hasPermit || (mayWait && budget.wait(this));
  }

  /** forTurn ends in tryAgain, at once where nothing is to be waited for. */
  forTurn(backOffMs: number): void {
    this.#backOffMs = backOffMs;
    if (!this.#hasPermit) this.#later(PERMIT_MS, () => this.#owner.giveUp());
    else if (backOffMs === 0) this.#owner.tryAgain();
    else this.#later(backOffMs, () => this.#owner.tryAgain());
  }

  /** onPermit is called by the budget. */
  onPermit(): void {
    this.#hasPermit = true;
    this.end();
    this.#later(this.#backOffMs, () => this.#owner.tryAgain());
  }

  /** forRoom ends in tryQueued. @returns false where the queue is full */
  forRoom(): boolean {
    const { queue, timer } = this.#pool;
    if (!queue.add(this.#owner)) return false;
    this.#queuedMs = timer.monotonicMs();
    this.#later(queue.timeoutMs, () => this.#owner.giveUp(OUTCOMES.queue_full));
    return true;
  }

  #later(waitMs: number, act: () => void): void {
    this.#timer = setTimeout(() => {
      this.#timer = null;
      try {
        act();
      } catch (thrown) {
        this.#transaction.crash(thrown);
      }
    }, waitMs);
  }

  /** end ends the wait; the permit and the deadline stay. */
  end(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#pool.budget.leave(this);
    if (this.#queuedMs === null) return;
    this.queueMs += this.#pool.timer.monotonicMs() - this.#queuedMs;
    this.#queuedMs = null;
    this.#pool.queue.remove(this.#owner);
  }

  /** settle also removes the deadline, and gives the permit back. */
  settle(): void {
    this.end();
    this.#pool.timer.remove(this.#deadline);
    if (!this.#hasPermit) return;
    this.#hasPermit = false;
    this.#pool.budget.give();
  }
}
