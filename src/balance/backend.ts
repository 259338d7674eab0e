/** One server of a pool. A reload that changes neither its id nor its address keeps the object and its count of requests. */
import { type BackendSettings, isSameServer, type PoolSettings } from '../contract/pool-settings.ts';

export class Backend {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** `https://`. */
  readonly tls: boolean;
  /** ≥ 1. A reload may change it. */
  weight: number;
  /** By the health checks of the primary. */
  healthy: boolean;
  /** false while an operator drains it. */
  enabled = true;
  /** Requests at this backend now; raised and lowered by the proxy. */
  inFlight = 0;

  constructor({ id, host, port, tls, weight }: BackendSettings, healthy: boolean) {
    this.id = id;
    this.host = host;
    this.port = port;
    this.tls = tls;
    this.weight = weight;
    this.healthy = healthy;
  }

  /** Whether it may be given new requests. */
  get available(): boolean {
    return this.healthy && this.enabled;
  }
}

/**
 * keepBackends returns the backends of a pool for a new plan, in the order of the settings. Those of the previous plan with the
 * same id and address are kept. A new one of a pool with a health check is not healthy until the primary says so (B6).
 */
export function keepBackends(pool: PoolSettings, previous: readonly Backend[]): Backend[] {
  const byId = new Map(previous.map((backend) => [backend.id, backend]));
  const checked = pool.healthCheck !== null;
  return pool.backends.map((settings) => {
    const known = byId.get(settings.id);
    if (known === undefined || !isSameServer(known, settings)) {
      return new Backend(settings, !checked);
    }
    known.weight = settings.weight;
    if (!checked) known.healthy = true;
    return known;
  });
}
