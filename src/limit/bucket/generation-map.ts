/**
 * A bounded cache in two generations. When the young one is full it becomes the old one, and the old one is dropped; an entry
 * of the old one that is used moves to the young one. Close to least-recently-used at the cost of one Map look-up.
 */
export class GenerationMap<V> {
  #perGeneration: number;
  #young = new Map<string, V>();
  #old = new Map<string, V>();

  /** @param max entries kept at most, ≥ 2. */
  constructor(max: number) {
    this.#perGeneration = perGenerationOf(max);
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** resize changes how many are kept; surplus entries go as the generations change. */
  resize(max: number): void {
    this.#perGeneration = perGenerationOf(max);
  }

  get(key: string): V | undefined {
    const found = this.#young.get(key);
    if (found !== undefined) return found;
    const old = this.#old.get(key);
    if (old === undefined) return undefined;
    this.#old.delete(key);
    this.set(key, old);
    return old;
  }

  /** values are all that are kept, in no order; they may change meanwhile. */
  *values(): Generator<V, undefined> {
    yield* this.#young.values();
    yield* this.#old.values();
    return undefined;
  }

  set(key: string, value: V): void {
    if (this.#young.size >= this.#perGeneration && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }
}

function perGenerationOf(max: number): number {
  return Math.max(1, Math.floor(max / 2));
}
