/**
 * The bucket store of the simulation: the product's bucket arithmetic on its own clock, with the faults of a Redis: frozen,
 * refusing, restarted empty, failed over without its last writes, its clock set.
 */
import type { TakeReply, TakeRequest } from '../../../src/contract/buckets.ts';
import { LbError } from '../../../src/contract/errors.ts';
import { type BucketState, takeFrom, ttlMsOf } from '../../../src/limit/bucket/bucket-state.ts';
import { LEASE_US, PLAIN_TAKE } from '../../../src/limit/store/bucket-store.ts';
import type { VirtualTime } from './virtual-time.ts';

const START_US = 1_790_000_000_000_000;
/** Number of writes kept for a failover. */
const MAX_JOURNAL = 20_000;

export interface Kept {
  state: BucketState;
  /** On the store's clock. */
  expiresAtUs: number;
}

/** One executed take. */
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
  /** Whether it changed the limits. */
  changesLimits: boolean;
}

export interface LostWrites {
  /** Tokens that the lost writes had granted, per bucket. */
  tokens: Map<string, number>;
  /** Buckets whose limits they had changed. */
  changed: Set<string>;
}

/** Changes a take before or after the arithmetic; only for tests of the simulation itself. */
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
  /** Number of the store process: messages to earlier ones are lost. */
  incarnation = 0;
  /** Number of executed takes; the sequence number of the next one. */
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

  /** receive runs a task now, or when a frozen store continues. */
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

  /** failOver continues with the state of `lagMs` ago. */
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

  /** reset refills one bucket, as an operator does. */
  reset(key: string): void {
    this.#kept.delete(key);
  }

  stepClock(byMs: number): void {
    this.#offsetMs += byMs;
  }

  /** stateOf is the bucket as last written; null: missing, which means full. */
  stateOf(key: string): BucketState | null {
    const kept = this.#kept.get(key);
    return kept === undefined || kept.expiresAtUs <= this.nowUs ? null : kept.state;
  }

  /** levelMicroOf is the current level of a bucket. */
  levelMicroOf(state: BucketState): number {
    const { capacity, rateMicro, versionUs } = state;
    const look = { key: '', capacity, rateMicro, versionUs, need: 0, partial: false, ...PLAIN_TAKE };
    return takeFrom(state, look, this.nowUs).reply.levelMicro;
  }

  /** accountedOf is the number of lease tokens that a bucket accounts for now. */
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
