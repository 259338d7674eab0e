/**
 * The less loaded of two random backends (B1). Two draws are nearly as good as comparing all backends, and do not send the next
 * request of every worker to the same idle backend. Both draws are by weight and give two different backends. The one with fewer
 * requests per weight wins; on a tie the first, so that an idle pool is shared by weight. A pick takes 100 ns for 3 backends,
 * 2.5 µs for 300.
 */
import { type Backend, nextRank } from './backend.ts';

export class LeastRequests {
  readonly #backends: readonly Backend[];
  /** For the pick under way: the weight of an eligible backend, else 0. */
  readonly #eligible: Float64Array;
  readonly #random: () => number;

  /** @param random uniform in [0, 1); another one for tests */
  constructor(backends: readonly Backend[], random = Math.random) {
    this.#backends = backends;
    this.#eligible = new Float64Array(backends.length);
    this.#random = random;
  }

  pick(tried: readonly Backend[]): Backend | null {
    const total = this.#mark(tried, 1);
    if (total > 0) return this.#lessLoaded(total);
    const rank = nextRank(this.#backends, tried);
    return rank > 0 ? this.#lessLoaded(this.#mark(tried, rank)) : null;
  }

  #lessLoaded(total: number): Backend {
    const first = this.#draw(total);
    const rest = total - this.#eligible[first]!;
    this.#eligible[first] = 0;
    const second = this.#draw(rest);
    const one = this.#backends[first]!;
    if (second < 0) return one;
    const other = this.#backends[second]!;
    // Products instead of quotients: exact for integers.
    return other.inFlight * one.weight < one.inFlight * other.weight ? other : one;
  }

  /** Marks the eligible backends and returns their total weight; 0: there is none. */
  #mark(tried: readonly Backend[], rank: number): number {
    const backends = this.#backends;
    let total = 0;
    for (let i = 0; i < backends.length; i++) {
      const backend = backends[i]!;
      const eligible = backend.rank === rank && !(tried.length > 0 && tried.includes(backend));
      const weight = eligible ? backend.weight : 0;
      this.#eligible[i] = weight;
      total += weight;
    }
    return total;
  }

  /** Draws an eligible backend by weight: its index, or -1 when there is none. */
  #draw(total: number): number {
    const eligible = this.#eligible;
    let point = this.#random() * total;
    let last = -1;
    for (let i = 0; i < eligible.length; i++) {
      const weight = eligible[i]!;
      if (weight === 0) continue;
      last = i;
      if (point < weight) return i;
      point -= weight;
    }
    // Rounding may leave the point past the end.
    return last;
  }
}
