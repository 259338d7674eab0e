/** One policy in a worker: its settings, its buckets, its counters. */
import type { ClientMatch } from '../contract/clients.ts';
import type { PolicySettings } from '../contract/settings.ts';
import type { WorkerMetrics } from '../infra/metrics.ts';
import { bucketKey } from './bucket-key.ts';
import type { Caller } from './client-identity.ts';
import { allowUncharged, type Decision, type DecisionSource, refuse, type Verdict } from './decision.ts';
import { effectiveLimits } from './effective-limits.ts';
import { GenerationMap } from './generation-map.ts';
import { KeyState } from './key-state.ts';

interface Known {
  state: KeyState;
  /** What the state's rules were made from. */
  match: ClientMatch;
  revision: number;
}

export class PolicyBuckets {
  #settings: PolicySettings;
  #versionUs: number;
  /** Counts the changes of settings. */
  #revision = 0;
  readonly #known: GenerationMap<Known>;
  readonly #metrics: WorkerMetrics;
  readonly #cells = new Map<string, number>();

  /** @param maxKeys buckets remembered at most; a forgotten one only costs a question to the store */
  constructor(settings: PolicySettings, versionUs: number, metrics: WorkerMetrics, maxKeys: number) {
    this.#settings = settings;
    this.#versionUs = versionUs;
    this.#metrics = metrics;
    this.#known = new GenerationMap(maxKeys);
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

  change(settings: PolicySettings, versionUs: number): void {
    this.#settings = settings;
    this.#versionUs = versionUs;
    this.#revision++;
  }

  /** stateOf finds the bucket of a caller and brings its limits up to date. */
  stateOf(caller: Caller): KeyState {
    const known = this.#known.get(caller.bucketHash);
    if (known === undefined) return this.#add(caller);
    if (known.match !== caller.match || known.revision !== this.#revision) {
      known.match = caller.match;
      known.revision = this.#revision;
      known.state.changeRules(effectiveLimits(this.#settings, this.#versionUs, caller.match));
    }
    return known.state;
  }

  /** known finds a bucket by its owner's hash where this worker knows of it. */
  known(bucketHash: string): KeyState | null {
    return this.#known.get(bucketHash)?.state ?? null;
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
    const key = `${result} ${decision.source}`;
    let cell = this.#cells.get(key);
    if (cell === undefined) {
      cell = this.#metrics.series('sluice_ratelimit_decisions_total', this.name, result, decision.source);
      this.#cells.set(key, cell);
    }
    this.#metrics.add(cell, 1);
    return decision;
  }

  #add(caller: Caller): KeyState {
    const { bucketHash, match } = caller;
    const rules = effectiveLimits(this.#settings, this.#versionUs, match);
    const state = new KeyState(bucketKey(bucketHash, this.name), rules);
    this.#known.set(bucketHash, { state, match, revision: this.#revision });
    return state;
  }
}

/** The label `result` of a decision. */
function resultOf({ shadowed, allowed, storeDenied }: Decision): string {
  if (shadowed) return 'shadow';
  if (allowed) return 'allowed';
  return storeDenied ? 'refused' : 'limited';
}
