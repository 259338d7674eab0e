/**
 * A bounded cache in two generations. When the young one is full it becomes the old one, and the old one is
 * dropped. An old entry that is used becomes young. Nearly least-recently-used, for one look-up in a Map.
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

  /** resize changes how many are kept. Surplus entries go as the generations change. */
  resize(max: number): void {
    this.#perGeneration = perGenerationOf(max);
  }

  get(key: string): V | undefined {
    const found = this.#young.get(key);
    if (found !== undefined) return found;
    const old = this.#old.get(key);
    if (old !== undefined) {
      this.#old.delete(key);
      this.set(key, old);
    }
    return old;
  }

  /** values are all that are kept, in no order; they may change meanwhile. */
  *values(): Generator<V> {
    yield* this.#young.values();
    yield* this.#old.values();
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
