/** Limiters for tests: real clock, counted metrics, recorded log lines. */
import type { TakeReply, TakeRequest } from '../../../src/contract/buckets.ts';
import type { ClientRecord } from '../../../src/contract/clients.ts';
import { type Clock, systemClock } from '../../../src/contract/clock.ts';
import type { PolicySettings } from '../../../src/contract/settings.ts';
import { makeLogger } from '../../../src/infra/logging/logger.ts';
import { WorkerMetrics } from '../../../src/infra/worker-metrics.ts';
import { hashBucketName } from '../../../src/limit/bucket/bucket-key.ts';
import type { Caller } from '../../../src/limit/caller/identity.ts';
import type { Decision } from '../../../src/limit/decision.ts';
import { Limiter } from '../../../src/limit/limiter/limiter.ts';
import type { BucketStore } from '../../../src/limit/store/bucket-store.ts';
import { MemoryBucketStore } from '../../../src/limit/store/memory-bucket-store.ts';
import type { Timers } from '../../../src/limit/timers.ts';
import { policySettings } from '../../support/settings.ts';

export const TIMEOUT_MS = 20;
export const DECISIONS = 'sluice_ratelimit_decisions_total';
export const STORE_CALLS = 'sluice_ratelimit_store_calls_total';
/** The default caller. */
export const CALLER_NAME = '203.0.113.7';

export const policyOf = policySettings;

export function callerOf(name: string, client: Partial<ClientRecord> | null = null, tombstoneUs = 0): Caller {
  const record: ClientRecord | null =
    client === null ? null : { clientId: name, mode: 'limit', limits: {}, versionUs: 1, ...client };
  return {
    clientIp: name,
    clientId: record?.clientId ?? null,
    mode: record?.mode ?? 'limit',
    match: { client: record, bucketName: name, tombstoneUs },
    bucketHash: hashBucketName(name),
    seenSec: 0,
  };
}

export interface LogLine {
  level: string;
  msg: string;
}

export interface LimiterLab {
  limiter: Limiter;
  log: LogLine[];
  /** Value of a counter or gauge by name and labels; 0 if it was never touched. */
  metric: (name: string, ...labels: string[]) => number;
}

export interface LabOptions {
  store: BucketStore;
  policies?: PolicySettings[];
  policyVersionUs?: number;
  workers?: number;
  instances?: number;
  timeoutMs?: number;
  maxKeys?: number;
  leases?: boolean;
  replacement?: boolean;
  before?: Limiter;
  clock?: Clock;
  timers?: Timers;
  defer?: (fn: () => void) => void;
}

export function makeLimiter(options: LabOptions): LimiterLab {
  const { policies = [policyOf()], policyVersionUs = 1_000, workers = 8, instances = 1 } = options;
  const metrics = new WorkerMetrics();
  const log: LogLine[] = [];
  const logger = makeLogger({ level: 'silent', format: 'json' });
  const record =
    (level: string) =>
    (_fields: unknown, msg?: string): void => {
      log.push({ level, msg: msg ?? '' });
    };
  Object.assign(logger, { info: record('info'), warn: record('warn'), error: record('error') });
  const limiter = new Limiter({
    timeoutMs: TIMEOUT_MS,
    clock: systemClock,
    metrics,
    logger,
    ...options,
  });
  limiter.configure({ policies, leases: options.leases ?? true }, policyVersionUs);
  limiter.shareAmong(workers * instances);
  return { limiter, log, metric: makeReader(metrics) };
}

function makeReader(metrics: WorkerMetrics): LimiterLab['metric'] {
  const indexes = new Map<string, number>();
  const totals = new Map<number, number>();
  return (name, ...labels) => {
    const { series, cells } = metrics.takeDelta();
    for (const found of series) indexes.set([found.name, ...found.labels].join(' '), found.index);
    for (let i = 0; i < cells.length; i += 2) {
      const index = cells[i] ?? 0;
      totals.set(index, (totals.get(index) ?? 0) + (cells[i + 1] ?? 0));
    }
    return totals.get(indexes.get([name, ...labels].join(' ')) ?? -1) ?? 0;
  };
}

/** takeMany takes n times in one turn of the event loop. */
export function takeMany(
  limiter: Limiter,
  n: number,
  options: { caller?: Caller; policy?: PolicySettings; cost?: number } = {},
) {
  const { caller = callerOf(CALLER_NAME), policy = policyOf(), cost = 1 } = options;
  return Promise.all(
    Array.from({ length: n }, async (): Promise<Decision> => limiter.take(caller, policy, cost)),
  );
}

export function allowed(decisions: readonly Decision[]): number {
  return decisions.filter((decision) => decision.allowed).length;
}

/** A store with answers from the test. */
export class ScriptedStore implements BucketStore {
  readonly kind = 'memory';
  available = true;
  readonly batches: TakeRequest[][] = [];
  /** null: never answers. */
  answer: ((takes: readonly TakeRequest[]) => Promise<(TakeReply | Error)[]>) | null;

  constructor(answer: ScriptedStore['answer']) {
    this.answer = answer;
  }

  takeBatch(takes: readonly TakeRequest[]): Promise<(TakeReply | Error)[]> {
    this.batches.push([...takes]);
    if (this.answer === null) return new Promise(() => undefined);
    return this.answer(takes);
  }
}

/** memoryStore answers from memory, as without Redis, until the test replaces its answer. */
export function memoryStore(): ScriptedStore {
  const store = new MemoryBucketStore(systemClock);
  return new ScriptedStore((takes) => store.takeBatch(takes));
}
