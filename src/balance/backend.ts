/** One server of a pool. A reload that changes neither its id nor its address keeps the object and its count of requests. */
import type { Standing } from '../contract/health.ts';
import { type BackendSettings, isSameServer, type PoolSettings } from '../contract/pool-settings.ts';

/**
 * The order in which `pick` looks: a rank only where no untried backend of a lower one is left. 1: backends that take requests;
 * 2: backups; 0: no request at all.
 */
export type Rank = 0 | 1 | 2;
export const LAST_RANK: Rank = 2;

export class Backend {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** `https://`. */
  readonly tls: boolean;
  /** Its part of the requests, relative to others of its rank. */
  weight = 0;
  rank: Rank = 0;
  /** Requests at this backend now; raised and lowered by the proxy. */
  inFlight = 0;

  #backup = false;
  #standing: Standing;

  constructor(settings: BackendSettings, standing: Standing) {
    this.id = settings.id;
    this.host = settings.host;
    this.port = settings.port;
    this.tls = settings.tls;
    this.#standing = standing;
    this.configure(settings);
  }

  /** configure takes over what a reload may change; for keepBackends. */
  configure({ weight, backup }: BackendSettings): void {
    this.weight = weight;
    this.#backup = backup;
    this.rank = this.#rankNow();
  }

  /** What the primary says of it. */
  get standing(): Standing {
    return this.#standing;
  }

  set standing(standing: Standing) {
    this.#standing = standing;
    this.rank = this.#rankNow();
  }

  /** Its rank while nothing is wrong with it. */
  get plannedRank(): Rank {
    if (this.weight === 0) return 0;
    return this.#backup ? 2 : 1;
  }

  #rankNow(): Rank {
    return this.#standing === 'up' ? this.plannedRank : 0;
  }
}

/**
 * keepBackends returns the backends of a pool for a new plan, in the order of the settings. Those of the previous plan with the
 * same id and address are kept. A new one of a pool with a health check is off until the primary says otherwise (B6).
 */
export function keepBackends(pool: PoolSettings, previous: readonly Backend[]): Backend[] {
  const byId = new Map(previous.map((backend) => [backend.id, backend]));
  const checked = pool.healthCheck !== null;
  return pool.backends.map((settings) => {
    const known = byId.get(settings.id);
    if (known === undefined || !isSameServer(known, settings)) {
      return new Backend(settings, checked ? 'off' : 'up');
    }
    known.configure(settings);
    if (!checked) known.standing = 'up';
    return known;
  });
}
