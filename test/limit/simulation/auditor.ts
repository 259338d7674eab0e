/**
 * Watches a simulation from outside and reports every broken promise of the limiter. It keeps the books of every bucket
 * (bucket-books.ts) and checks every decision:
 *
 * - conservation: every spent token was granted by the store, to this worker, once, and has not expired;
 * - the guarantee, over all windows (timeline.ts);
 * - local shares: each worker's own decisions stay within capacity / n + rate / n × time over all windows, however often
 *   the store comes and goes, and begin with the last known level of the bucket (local-share.ts).
 */
import type { TakeReply, TakeRequest } from '../../../src/contract/buckets.ts';
import type { Decision } from '../../../src/limit/decision.ts';
import { Lot } from '../../../src/limit/limiter/lease.ts';
import { BucketBooks } from './bucket-books.ts';
import type { Origin, Source } from './ledger.ts';
import type { Batch } from './link.ts';
import { LocalShare } from './local-share.ts';
import type { Execution, LostWrites, SimStore } from './sim-store.ts';
import type { SimWorker } from './sim-worker.ts';
import { NONE, type Worst, worse } from './timeline.ts';
import type { VirtualTime } from './virtual-time.ts';

/** A decision that took tokens from the store, or from a lease. */
export interface Charge {
  books: BucketBooks;
  decision: Decision;
  cost: number;
  source: Source;
  grantedMs: number;
  order: number;
}

export interface Returned {
  cost: number;
  charge: Charge | null;
  /** Whether lease tokens have returned to their lot. */
  intoLot: boolean;
}

interface AuditorOptions {
  time: VirtualTime;
  store: SimStore;
  /** Longest time from a grant to the admission. */
  lagMs: number;
}

export class Auditor {
  readonly complaints: string[] = [];
  readonly #options: AuditorOptions;
  readonly #books = new Map<string, BucketBooks>();
  readonly #shares = new Map<SimWorker, Map<string, LocalShare>>();

  constructor(options: AuditorOptions) {
    this.#options = options;
  }

  complain(text: string): void {
    this.complaints.push(`at ${this.#options.time.nowMs.toFixed(3)} ms: ${text}`);
  }

  /** worst is the worst of all buckets. */
  worst(): Worst {
    return [...this.#books.values()].reduce((worst, { timeline }) => worse(worst, timeline.worst), NONE);
  }

  // Events at the store, and between it and the workers.

  onTake(execution: Execution): void {
    const { request, reply } = execution;
    let books = this.#books.get(request.key);
    if (books === undefined) {
      const complain = (text: string) => this.complain(text);
      books = new BucketBooks(request.key, reply, { ...this.#options, complain });
      this.#books.set(request.key, books);
    }
    books.onTake(execution);
  }

  sent(worker: SimWorker, takes: readonly TakeRequest[]): void {
    for (const take of takes) this.#books.get(take.key)?.sent(worker, take);
  }

  executed(worker: SimWorker, batch: Batch): void {
    this.#eachReply(batch, (books, reply, order) => books.executed(worker, { reply, batch, order }));
  }

  delivered(worker: SimWorker, batch: Batch): void {
    this.#eachReply(batch, (books, reply, order) => {
      books.delivered(worker, { reply, batch, order });
      this.#shareOf(worker, books.key).heard(reply, worker.monotonicMsAt(batch.sentMs));
    });
  }

  // Decisions of the workers.

  /** decided is called for every decision about one bucket. null: it took nothing that counts in a window. */
  decided(worker: SimWorker, key: string, decision: Decision, cost: number): Charge | null {
    this.#checkFields(decision);
    const { allowed, source, charged } = decision;
    if (source === 'local') {
      const { monotonicMs: nowMs, parts } = worker;
      const debt = this.#shareOf(worker, key).decide(decision, cost, { nowMs, parts });
      if (debt > 0) this.complain(`${worker.name} spent ${debt.toFixed(4)} tokens more than its local share`);
      return null;
    }
    if (!charged) {
      if (allowed && source !== 'deny_cache') this.complain(`allowed by ${source} without a token`);
      return null;
    }
    const books = this.#books.get(key);
    if (books === undefined || source === 'deny_cache') {
      this.complain(`${worker.name} allowed by ${source} what the store has never granted`);
      return null;
    }
    const { time, store } = this.#options;
    const moment = { atMs: time.nowMs, order: store.executions };
    const ledger = books.ledgerOf(worker);
    const paid =
      source === 'store'
        ? ledger.spendGrant(cost)
        : ledger.spendLease(cost, moment, originOf(worker, decision));
    const { executedMs, order } = paid.grant ?? { executedMs: moment.atMs, order: moment.order };
    return { books, decision, cost, source: paid, grantedMs: executedMs, order };
  }

  /** gaveBack: the request was not admitted. */
  gaveBack(worker: SimWorker, key: string, { source }: Decision, paid: Returned): void {
    const { cost, charge, intoLot } = paid;
    if (source === 'local') this.#shareOf(worker, key).giveBack(cost, worker.monotonicMs);
    else if (charge !== null) charge.books.ledgerOf(worker).unspend(charge.source, cost, intoLot);
  }

  /** admitted: the request was admitted. */
  admitted({ books, cost, grantedMs, order, decision }: Charge): void {
    const { nowMs } = this.#options.time;
    const delayMs = decision.source === 'store' ? nowMs - grantedMs : 0;
    const wrong = books.timeline.admit({ atMs: nowMs, grantedMs, order, tokens: cost }, delayMs);
    if (wrong !== null) this.complain(`${books.key}: ${wrong}`);
  }

  // Faults.

  crashed(worker: SimWorker): void {
    for (const books of this.#books.values()) books.crashed(worker);
  }

  /** lost: the store has lost one bucket, or all. */
  lost(key: string | null): void {
    for (const books of this.#books.values()) if (key === null || books.key === key) books.lost();
  }

  /** refilled: a worker was told that an operator refilled a bucket. */
  refilled(worker: SimWorker, key: string): void {
    this.#shareOf(worker, key).refill(worker.monotonicMs);
  }

  failedOver({ tokens, changed }: LostWrites): void {
    for (const [key, lost] of tokens) this.#books.get(key)?.failedOver(lost, changed.has(key));
    for (const books of this.#books.values()) books.look();
  }

  clockStepped(byMs: number): void {
    for (const books of this.#books.values()) {
      books.clockStepped(byMs);
      books.look();
    }
  }

  // Checks.

  afterEvent(): void {
    for (const books of this.#books.values()) books.afterEvent();
  }

  /** finish checks what depends on the order of takes at the store. */
  finish(): void {
    for (const { timeline, key } of this.#books.values()) {
      for (const wrong of timeline.judgeGrants()) this.complain(`${key}: ${wrong}`);
    }
  }

  #checkFields({ allowed, remaining, retryAfterMs, capacity }: Decision): void {
    if (!allowed && retryAfterMs === 0) this.complain('refused without a time to come back');
    if (!Number.isInteger(remaining) || remaining < 0 || remaining > capacity)
      this.complain(`${remaining} tokens remain of ${capacity}`);
  }

  #eachReply(batch: Batch, fn: (books: BucketBooks, reply: TakeReply, order: number) => void): void {
    for (const [index, { key }] of batch.takes.entries()) {
      const reply = batch.results[index];
      const books = this.#books.get(key);
      if (books === undefined || reply === undefined || reply instanceof Error) continue;
      fn(books, reply, batch.order + index);
    }
  }

  #shareOf(worker: SimWorker, key: string): LocalShare {
    let shares = this.#shares.get(worker);
    if (shares === undefined) {
      shares = new Map();
      this.#shares.set(worker, shares);
    }
    let share = shares.get(key);
    if (share === undefined) {
      share = new LocalShare();
      shares.set(key, share);
    }
    return share;
  }
}

/** The lot that a decision names: from outside it cannot be known which of several was spent. */
function originOf(worker: SimWorker, { origin }: Decision): Origin | null {
  if (!(origin instanceof Lot)) return null;
  return { epoch: origin.epoch, expiresMs: worker.timeOf(origin.expiresMs) };
}
