/** Pools and backends for the tests of this folder. */
import { Backend } from '../../src/balance/backend.ts';
import type { PoolSettings } from '../../src/contract/pool-settings.ts';
import { poolSettings } from '../support/settings.ts';

export function makePool(weights: readonly number[], more: Partial<PoolSettings> = {}): PoolSettings {
  const backends = weights.map((weight, i) => ({
    id: `b${i}`,
    host: '127.0.0.1',
    port: 8081 + i,
    tls: false,
    weight,
    backup: false,
  }));
  return poolSettings({ backends, ...more });
}

export function makeBackends(weights: readonly number[]): Backend[] {
  return makePool(weights).backends.map((settings) => new Backend(settings, 'up'));
}

/** A small seeded random generator, uniform in [0, 1), so that tests repeat exactly. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Ids of `count` picks in order. */
export function pickIds(
  set: { pick(tried: readonly Backend[]): Backend | null },
  count: number,
): (string | null)[] {
  return Array.from({ length: count }, () => set.pick([])?.id ?? null);
}

export function countById(ids: readonly (string | null)[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const id of ids) counts[id ?? 'none'] = (counts[id ?? 'none'] ?? 0) + 1;
  return counts;
}
