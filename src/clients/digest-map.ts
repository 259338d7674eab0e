/**
 * A Map by digests of API keys, in some fifty small ones: whenever a Map grows, all of it is moved in one turn of the loop, which
 * on the way to a million entries took up to 118 ms, with these never 8.
 */
const SHARDS = 64;

/** DigestMap holds the keys of the primary's picture and of a worker's directory. */
export class DigestMap<V> {
  readonly #shards = Array.from({ length: SHARDS }, () => new Map<string, V>());

  get size(): number {
    return this.#shards.reduce((sum, shard) => sum + shard.size, 0);
  }

  get(digest: string): V | undefined {
    return this.#shardOf(digest).get(digest);
  }

  set(digest: string, value: V): void {
    this.#shardOf(digest).set(digest, value);
  }

  /** delete returns whether it was there. */
  delete(digest: string): boolean {
    return this.#shardOf(digest).delete(digest);
  }

  /** entries may be read while the map changes: what is gone does not come any more, what is new may come or not. */
  *entries(): Generator<[digest: string, value: V], undefined> {
    for (const shard of this.#shards) yield* shard;
    return undefined;
  }

  *values(): Generator<V, undefined> {
    for (const shard of this.#shards) yield* shard.values();
    return undefined;
  }

  /** The first character of base64url: 53 of its 64 values are told apart. */
  #shardOf(digest: string): Map<string, V> {
    return this.#shards[digest.charCodeAt(0) % SHARDS] as Map<string, V>;
  }
}
