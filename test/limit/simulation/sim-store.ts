/**
 * The bucket store of the simulation: the product's bucket arithmetic on a clock of its own, and everything that can
 * happen to a Redis: frozen, refusing, restarted empty, replaced by a replica that lacks the last writes, its clock set.
 */
import type { TakeReply, TakeRequest } from '../../../src/contract/buckets.ts';
import { LbError } from '../../../src/contract/errors.ts';
import { type BucketState, takeFrom, ttlMsOf } from '../../../src/limit/bucket/bucket-state.ts';
import { LEASE_US, PLAIN_TAKE } from '../../../src/limit/store/bucket-store.ts';
import type { VirtualTime } from './virtual-time.ts';

const START_US = 1_790_000_000_000_000;
/** Writes remembered for a failover. */
const MAX_JOURNAL = 20_000;

export interface Kept {
  state: BucketState;
  /** On the store's clock. */
  expiresAtUs: number;
}

/** One take as it was done. */
export interface Execution {
  request: TakeRequest;
  reply: TakeReply;
  /** On the store's clock. */
  nowUs: number;
  before: BucketState | null;
  after: BucketState | null;
}

interface Write {
  atMs: number;
  key: string;
  before: Kept | null;
  tokens: number;
  /** Whether it took on other limits. */
  changesLimits: boolean;
}

export interface LostWrites {
  /** Tokens that they granted, per bucket. */
  tokens: Map<string, number>;
  /** Buckets that took on other limits with them. */
  changed: Set<string>;
}

/** What the store does to a take before or after the arithmetic; only tests of the simulation itself use it. */
export type Sabotage = (state: BucketState) => BucketState;

export class SimStore {
  readonly #time: VirtualTime;
  readonly #onExecuted: (execution: Execution) => void;
  readonly #sabotage: Sabotage | null;
  readonly #kept = new Map<string, Kept>();
  #journal: Write[] = [];
  #offsetMs = 0;
  #frozen: (() => void)[] | null = null;
  refusing = false;
  /** Counts the processes that were the store: a message to an earlier one reaches nobody. */
  incarnation = 0;
  /** Takes done so far: the number of the next one. */
  executions = 0;

  constructor(
    time: VirtualTime,
    onExecuted: (execution: Execution) => void,
    sabotage: Sabotage | null = null,
  ) {
    this.#time = time;
    this.#onExecuted = onExecuted;
    this.#sabotage = sabotage;
  }

  get nowUs(): number {
    return START_US + Math.floor((this.#time.nowMs + this.#offsetMs) * 1000);
  }

  /** receive runs work when a request has arrived: now, or when the store thaws. */
  receive(work: () => void): void {
    if (this.#frozen === null) work();
    else this.#frozen.push(work);
  }

  execute(takes: readonly TakeRequest[]): (TakeReply | Error)[] {
    if (this.refusing) {
      const error = new LbError('store_unavailable', 'the simulated store refuses');
      return takes.map(() => error);
    }
    return takes.map((request) => this.#take(request));
  }

  freeze(): void {
    this.#frozen ??= [];
  }

  thaw(): void {
    const work = this.#frozen ?? [];
    this.#frozen = null;
    for (const run of work) run();
  }

  restartEmpty(): void {
    this.#replace();
    this.#kept.clear();
    this.#journal = [];
  }

  /** failOver goes on with the state of `lagMs` ago. */
  failOver(lagMs: number): LostWrites {
    this.#replace();
    const lost: LostWrites = { tokens: new Map(), changed: new Set() };
    for (;;) {
      const write = this.#journal.at(-1);
      if (write === undefined || write.atMs <= this.#time.nowMs - lagMs) return lost;
      this.#journal.pop();
      if (write.before === null) this.#kept.delete(write.key);
      else this.#kept.set(write.key, write.before);
      lost.tokens.set(write.key, (lost.tokens.get(write.key) ?? 0) + write.tokens);
      if (write.changesLimits) lost.changed.add(write.key);
    }
  }

  /** reset is what an operator does to one bucket. */
  reset(key: string): void {
    this.#kept.delete(key);
  }

  stepClock(byMs: number): void {
    this.#offsetMs += byMs;
  }

  /** stateOf is the bucket as it was last written; null: missing, which means a full one. */
  stateOf(key: string): BucketState | null {
    const kept = this.#kept.get(key);
    return kept === undefined || kept.expiresAtUs <= this.nowUs ? null : kept.state;
  }

  /** levelMicroOf is what a bucket holds now. */
  levelMicroOf(state: BucketState): number {
    const { capacity, rateMicro, versionUs } = state;
    const look = { key: '', capacity, rateMicro, versionUs, need: 0, partial: false, ...PLAIN_TAKE };
    return takeFrom(state, look, this.nowUs).reply.levelMicro;
  }

  /** accountedOf is how many lease tokens a bucket holds room for now. */
  accountedOf({ epoch, leased, leasedBefore, atUs }: BucketState): number {
    const epochs = Math.floor(Math.max(this.nowUs, atUs) / LEASE_US) - epoch;
    return epochs <= 0 ? leased + leasedBefore : epochs === 1 ? leased : 0;
  }

  #replace(): void {
    this.incarnation++;
    this.#frozen = null;
  }

  #take(request: TakeRequest): TakeReply {
    const { key } = request;
    const before = this.stateOf(key);
    const outcome = takeFrom(before, request, this.nowUs);
    const state =
      outcome.state === null || this.#sabotage === null ? outcome.state : this.#sabotage(outcome.state);
    const { reply } = outcome;
    if (state !== null) this.#write(key, state, reply.granted + reply.ahead);
    this.#onExecuted({ request, reply, nowUs: this.nowUs, before, after: state ?? before });
    this.executions++;
    return reply;
  }

  #write(key: string, state: BucketState, tokens: number): void {
    const before = this.#kept.get(key) ?? null;
    const changesLimits = before !== null && before.state.versionUs !== state.versionUs;
    this.#journal.push({ atMs: this.#time.nowMs, key, before, tokens, changesLimits });
    if (this.#journal.length > 2 * MAX_JOURNAL) this.#journal = this.#journal.slice(-MAX_JOURNAL);
    this.#kept.set(key, { state, expiresAtUs: this.nowUs + ttlMsOf(state) * 1000 });
  }
}
