/** One policy in a worker: its settings, its buckets, its counters. */
import { type ClientMatch, matchOfNobody } from '../../contract/clients.ts';
import type { PolicySettings } from '../../contract/settings.ts';
import type { WorkerMetrics } from '../../infra/worker-metrics.ts';
import { keySuffixOf } from '../bucket/bucket-key.ts';
import { type EffectiveLimits, effectiveLimits } from '../bucket/effective-limits.ts';
import { GenerationMap } from '../bucket/generation-map.ts';
import type { Caller } from '../caller/identity.ts';
import type { Decision } from '../decision.ts';
import { type BucketPolicy, KnownBucket } from './known-bucket.ts';

/** Results of decisions, for the counter. */
const RESULTS = ['allowed', 'limited', 'shadow', 'refused'] as const;
const SOURCE_CODES = { lease: 0, store: 1, deny_cache: 2, local: 3 } as const;
const SOURCE_COUNT = 4;
const UNUSED_CELL = -1;
/** A caller that is not a client. Its bucket's name does not matter here. */
const NOBODY = matchOfNobody('', null);

export class PolicyBuckets implements BucketPolicy {
  readonly keySuffix: string;
  /** By their owners' hashes. */
  readonly known: GenerationMap<KnownBucket>;
  readonly #metrics: WorkerMetrics;
  /** Cells of the counter, by result and source. */
  readonly #cells: number[] = new Array(RESULTS.length * SOURCE_COUNT).fill(UNUSED_CELL);
  settings: PolicySettings;
  limits: EffectiveLimits;
  #versionUs: number;

  /** @param maxBuckets the most to remember; a forgotten bucket costs one more call of the store */
  constructor(settings: PolicySettings, versionUs: number, metrics: WorkerMetrics, maxBuckets: number) {
    this.settings = settings;
    this.limits = effectiveLimits(settings, versionUs, NOBODY);
    this.#versionUs = versionUs;
    this.#metrics = metrics;
    this.known = new GenerationMap(maxBuckets);
    this.keySuffix = keySuffixOf(settings.name);
  }

  /** change applies the settings of a revision. */
  change(settings: PolicySettings, versionUs: number, maxBuckets: number): void {
    this.settings = settings;
    this.limits = effectiveLimits(settings, versionUs, NOBODY);
    this.#versionUs = versionUs;
    this.known.max = maxBuckets;
    // The metrics drop the cells of a policy that is gone, and it may be back.
    this.#cells.fill(UNUSED_CELL);
  }

  /** bucketOf finds or makes the bucket of a caller and updates its limits. @param emptyAtMs asked for a new one, see KnownBucket */
  bucketOf({ bucketHash, match }: Caller, emptyAtMs: (hash: string) => number | null): KnownBucket {
    const known = this.known.get(bucketHash);
    if (known !== undefined) {
      known.follow(match);
      return known;
    }
    const made = new KnownBucket(this, bucketHash, match, emptyAtMs(bucketHash));
    this.known.set(bucketHash, made);
    return made;
  }

  limitsOf(match: ClientMatch): EffectiveLimits {
    const isNobody = match.client === null && match.tombstoneUs === NOBODY.tombstoneUs;
    return isNobody ? this.limits : effectiveLimits(this.settings, this.#versionUs, match);
  }

  /** count adds a decision to the counter of its policy, result and source, and returns it. */
  count(decision: Decision): Decision {
    const result = resultOf(decision);
    const code = result * SOURCE_COUNT + SOURCE_CODES[decision.source];
    let cell = this.#cells[code] ?? UNUSED_CELL;
    if (cell === UNUSED_CELL) {
      const labels = [this.settings.name, RESULTS[result], decision.source] as const;
      cell = this.#metrics.series('sluice_ratelimit_decisions_total', ...labels);
      this.#cells[code] = cell;
    }
    this.#metrics.add(cell, 1);
    return decision;
  }
}

/** The index in RESULTS. */
function resultOf({ shadowed, allowed, storeDenied }: Decision): 0 | 1 | 2 | 3 {
  if (shadowed) return 2;
  if (allowed) return 0;
  return storeDenied ? 3 : 1;
}
