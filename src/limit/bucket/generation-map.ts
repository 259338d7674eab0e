/**
 * A bounded cache in two generations. When the young one is full, it becomes the old one, and the old one is dropped. An old
 * entry that is used becomes young. Nearly least-recently-used, at the cost of one look-up in a Map.
 */
export class GenerationMap<V> {
  /** The most entries, about. May change; surplus entries go with the next generations. */
  max: number;
  #young = new Map<string, V>();
  #old = new Map<string, V>();

  constructor(max: number) {
    this.max = max;
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

  /** values returns all entries in no order; the map may change meanwhile. */
  *values(): Generator<V> {
    yield* this.#young.values();
    yield* this.#old.values();
  }

  set(key: string, value: V): void {
    if (this.#young.size * 2 >= this.max && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }
}
