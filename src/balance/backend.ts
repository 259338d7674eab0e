/**
 * One server of a pool, as a worker sees it. A worker keeps one Backend per (pool, backend id) for as long as a reload
 * leaves its id and address alone, so that the count of requests under way at it stays true over reloads.
 */
import type { BackendSettings, PoolSettings } from '../contract/settings.ts';

export class Backend {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** ≥ 1. Renewed by keepBackends; a BackendSet goes on with the weights that it was built with. */
  weight: number;
  /** What the primary's health checks say; written when its `backends` message arrives. */
  healthy: boolean;
  /** false while an operator drains it; written together with `healthy`. */
  enabled = true;
  /** Requests at this backend now; raised and lowered by the proxy. */
  inFlight = 0;

  constructor(settings: BackendSettings, healthy: boolean) {
    this.id = settings.id;
    this.host = settings.host;
    this.port = settings.port;
    this.weight = settings.weight;
    this.healthy = healthy;
  }

  /** Whether it may be given new requests. */
  get available(): boolean {
    return this.healthy && this.enabled;
  }
}

/**
 * keepBackends makes the backends of a pool for a new plan, in the order of the settings: those of the plan before
 * that kept id and address are the same objects, the others are new. A new backend of a pool with a health
 * check is not healthy before the primary says so (B6); without one it is healthy.
 *
 * @param previous the pool's backends in the plan before; empty for a new pool
 */
export function keepBackends(pool: PoolSettings, previous: readonly Backend[]): Backend[] {
  const byId = new Map(previous.map((backend) => [backend.id, backend]));
  const checked = pool.healthCheck !== null;
  return pool.backends.map((settings) => {
    const known = byId.get(settings.id);
    if (known === undefined || known.host !== settings.host || known.port !== settings.port) {
      return new Backend(settings, !checked);
    }
    known.weight = settings.weight;
    if (!checked) known.healthy = true;
    return known;
  });
}
