/** One policy in a worker: its settings, its buckets, its counters. */
import type { ClientMatch } from '../../contract/clients.ts';
import type { Clock } from '../../contract/clock.ts';
import type { PolicySettings } from '../../contract/settings.ts';
import type { WorkerMetrics } from '../../infra/metrics.ts';
import { keySuffixOf } from '../bucket/bucket-key.ts';
import { type EffectiveLimits, effectiveLimits } from '../bucket/effective-limits.ts';
import { GenerationMap } from '../bucket/generation-map.ts';
import type { Caller } from '../caller/identity.ts';
import { allowUncharged, type Decision, type DecisionSource, refuse, type Verdict } from '../decision.ts';
import { type KeyPolicy, KeyState } from './known-bucket.ts';

/** Results and sources of decisions, for the cells of the counter. */
const RESULTS = ['allowed', 'limited', 'shadow', 'refused'] as const;
const SOURCE_CODES = { lease: 0, store: 1, deny_cache: 2, local: 3 } as const;
const SOURCE_COUNT = 4;
const UNUSED_CELL = -1;
/** ClientMatch.tombstoneUs where nobody deleted a client of that name. */
const NEVER_DELETED = 0;

export class PolicyBuckets implements KeyPolicy {
  readonly keySuffix: string;
  #settings: PolicySettings;
  #versionUs: number;
  /** Counts the changes of settings. */
  #revision = 0;
  /** The limits of callers who are nobody's clients: one object for all. */
  #anonymous: EffectiveLimits | null = null;
  readonly #known: GenerationMap<KeyState>;
  readonly #metrics: WorkerMetrics;
  readonly #cells: number[];

  /** @param maxKeys buckets remembered at most; a forgotten one only costs a question to the store */
  constructor(settings: PolicySettings, versionUs: number, metrics: WorkerMetrics, maxKeys: number) {
    this.#settings = settings;
    this.#versionUs = versionUs;
    this.#metrics = metrics;
    this.#known = new GenerationMap(maxKeys);
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

  /** change takes the settings of a revision; true: the policy's limits are others now. */
  change(settings: PolicySettings, versionUs: number): boolean {
    const { capacity, refillPerSecond } = this.#settings;
    this.#settings = settings;
    this.#versionUs = versionUs;
    this.#revision++;
    this.#anonymous = null;
    return settings.capacity !== capacity || settings.refillPerSecond !== refillPerSecond;
  }

  /** changed gives the buckets that have other limits since the last change and were not full by the old ones. */
  *changed(clock: Pick<Clock, 'monotonicMs'>): Generator<KeyState, undefined> {
    for (const state of this.#known.values()) {
      const { capacity, rateMicro } = state.force;
      const ratio = state.known(clock.monotonicMs())?.ratio ?? 1;
      this.#bringUpToDate(state, state.match);
      const { rules } = state;
      if (ratio < 1 && (rules.capacity !== capacity || rules.rateMicro !== rateMicro)) yield state;
    }
    return undefined;
  }

  /** resize changes how many buckets are remembered. */
  resize(maxKeys: number): void {
    this.#known.resize(maxKeys);
  }

  /** stateOf finds the bucket of a caller and brings its limits up to date. */
  stateOf({ bucketHash, match }: Caller): KeyState {
    const state = this.#known.get(bucketHash);
    if (state === undefined) {
      const made = new KeyState(this, bucketHash, {
        rules: this.#rulesOf(match),
        match,
        revision: this.#revision,
      });
      this.#known.set(bucketHash, made);
      return made;
    }
    this.#bringUpToDate(state, match);
    return state;
  }

  /** known finds a bucket by its owner's hash where this worker knows of it. */
  known(bucketHash: string): KeyState | null {
    return this.#known.get(bucketHash) ?? null;
  }

  /** refusalOf is the deny cache: the refusal of what is known not to be there, or null. Counts nothing. */
  refusalOf(state: KeyState, cost: number, nowMs: number): Decision | null {
    // Also of a cost above the capacity: it is asked for once in a while, so that a raised limit is noticed.
    const deniedForMs = state.denyForMs(cost, nowMs);
    if (deniedForMs <= 0) return null;
    return refuse(this.verdictOn(state, 'deny_cache'), state.levelAt(nowMs), cost, deniedForMs);
  }

  /** knownOf tells of a bucket without touching it: an allowed decision that took nothing. Counts nothing. */
  knownOf(caller: Caller, nowMs: number): Decision {
    const state = this.stateOf(caller);
    return allowUncharged(this.verdictOn(state, 'deny_cache'), state.levelAt(nowMs));
  }

  /** verdictOn is what all decisions about a bucket have in common. */
  verdictOn(state: KeyState, source: DecisionSource): Verdict {
    return { policyName: this.name, shadow: this.shadow, rules: state.force, source };
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

  #bringUpToDate(state: KeyState, match: ClientMatch): void {
    if (state.match === match && state.revision === this.#revision) return;
    state.match = match;
    state.revision = this.#revision;
    state.changeRules(this.#rulesOf(match));
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
