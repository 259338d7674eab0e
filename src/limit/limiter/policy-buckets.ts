/** One policy in a worker: its settings, its buckets, its counters. */
import type { ClientMatch } from '../../contract/clients.ts';
import type { PolicySettings } from '../../contract/settings.ts';
import type { WorkerMetrics } from '../../infra/metrics.ts';
import { keySuffixOf } from '../bucket/bucket-key.ts';
import { type EffectiveLimits, effectiveLimits } from '../bucket/effective-limits.ts';
import { GenerationMap } from '../bucket/generation-map.ts';
import type { Caller } from '../caller/identity.ts';
import { allowUncharged, type Decision, type DecisionSource, refuse, type Verdict } from '../decision.ts';
import { type BucketPolicy, KnownBucket } from './known-bucket.ts';

/** Results and sources of decisions, for the cells of the counter. */
const RESULTS = ['allowed', 'limited', 'shadow', 'refused'] as const;
const SOURCE_CODES = { lease: 0, store: 1, deny_cache: 2, local: 3 } as const;
const SOURCE_COUNT = 4;
const UNUSED_CELL = -1;
/** ClientMatch.tombstoneUs where nobody deleted a client of that name. */
const NEVER_DELETED = 0;

export class PolicyBuckets implements BucketPolicy {
  readonly keySuffix: string;
  #settings: PolicySettings;
  #versionUs: number;
  /** Counts the changes of settings. */
  #revision = 0;
  /** The limits of callers that are no clients: one object for all. */
  #anonymous: EffectiveLimits | null = null;
  readonly #known: GenerationMap<KnownBucket>;
  readonly #metrics: WorkerMetrics;
  readonly #cells: number[];

  /** @param maxBuckets remembered at most; a forgotten one only costs a question to the store */
  constructor(settings: PolicySettings, versionUs: number, metrics: WorkerMetrics, maxBuckets: number) {
    this.#settings = settings;
    this.#versionUs = versionUs;
    this.#metrics = metrics;
    this.#known = new GenerationMap(maxBuckets);
    this.#cells = new Array(RESULTS.length * SOURCE_COUNT).fill(UNUSED_CELL);
    this.keySuffix = keySuffixOf(settings.name);
  }

  get name(): string {
    return this.#settings.name;
  }

  get shadow(): boolean {
    return this.#settings.shadow;
  }

  get onStoreFailure(): PolicySettings['onStoreFailure'] {
    return this.#settings.onStoreFailure;
  }

  /** change takes the settings of a revision. */
  change(settings: PolicySettings, versionUs: number): void {
    this.#settings = settings;
    this.#versionUs = versionUs;
    this.#revision++;
    this.#anonymous = null;
    // A policy that was gone for a while has lost its cells.
    this.#cells.fill(UNUSED_CELL);
  }

  /** resize changes how many buckets are remembered. */
  resize(maxBuckets: number): void {
    this.#known.resize(maxBuckets);
  }

  /**
   * bucketOf finds the bucket of a caller and brings its limits up to date.
   *
   * @param emptyAtMs for a bucket that is not known yet, see KnownBucket
   */
  bucketOf({ bucketHash, match }: Caller, emptyAtMs: number | null): KnownBucket {
    const revision = this.#revision;
    const known = this.#known.get(bucketHash);
    if (known === undefined) {
      const limits = { rules: this.#rulesOf(match), match, revision };
      const made = new KnownBucket(this, bucketHash, limits, emptyAtMs);
      this.#known.set(bucketHash, made);
      return made;
    }
    if (!known.isUpToDate(match, revision)) known.update({ rules: this.#rulesOf(match), match, revision });
    return known;
  }

  /** find returns the bucket of an owner where this worker knows of it. */
  find(bucketHash: string): KnownBucket | null {
    return this.#known.get(bucketHash) ?? null;
  }

  /** refusalOf is the deny cache: the refusal of what is known not to be there, or null. Counts nothing. */
  refusalOf(bucket: KnownBucket, cost: number, nowMs: number): Decision | null {
    // A cost above the capacity is asked for once in a while too, so that a raised limit is noticed.
    const deniedForMs = bucket.denyForMs(cost, nowMs);
    if (deniedForMs <= 0) return null;
    return refuse(this.verdictOn(bucket, 'deny_cache'), bucket.levelAt(nowMs), cost, deniedForMs);
  }

  /** peek tells of a bucket without touching it: an allowed decision that took nothing. Counts nothing. */
  peek(bucket: KnownBucket, nowMs: number): Decision {
    return allowUncharged(this.verdictOn(bucket, 'deny_cache'), bucket.levelAt(nowMs));
  }

  /** verdictOn is what all decisions about a bucket have in common. */
  verdictOn(bucket: KnownBucket, source: DecisionSource): Verdict {
    return { policyName: this.name, shadow: this.shadow, rules: bucket.force, source };
  }

  /** count files a decision under its policy, result and source, and returns it. */
  count(decision: Decision): Decision {
    const result = resultOf(decision);
    const code = result * SOURCE_COUNT + SOURCE_CODES[decision.source];
    let cell = this.#cells[code] ?? UNUSED_CELL;
    if (cell === UNUSED_CELL) {
      const { source } = decision;
      cell = this.#metrics.series('sluice_ratelimit_decisions_total', this.name, RESULTS[result], source);
      this.#cells[code] = cell;
    }
    this.#metrics.add(cell, 1);
    return decision;
  }

  #rulesOf(match: ClientMatch): EffectiveLimits {
    if (match.client !== null || match.tombstoneUs !== NEVER_DELETED) {
      return effectiveLimits(this.#settings, this.#versionUs, match);
    }
    this.#anonymous ??= effectiveLimits(this.#settings, this.#versionUs, match);
    return this.#anonymous;
  }
}

/** The index in RESULTS. */
function resultOf({ shadowed, allowed, storeDenied }: Decision): 0 | 1 | 2 | 3 {
  if (shadowed) return 2;
  if (allowed) return 0;
  return storeDenied ? 3 : 1;
}
