import type { BackendAvailability } from '../contract/health.ts';
import type { PlannedBackend } from '../proxy/plan.ts';

/** Availability is the last known state of each backend. It is kept apart from plans: a state may come before its plan. */
export class Availability {
  readonly #byName = new Map<string, BackendAvailability>();

  /** learn takes the states of a `backends` message, which may be those of a few backends. */
  learn(states: readonly BackendAvailability[]): void {
    for (const state of states) this.#byName.set(nameOf(state.pool, state.backend), state);
  }

  /** apply copies what is known to the backends of a plan. */
  apply(planned: Iterable<PlannedBackend>): void {
    for (const { poolName, backend } of planned) {
      const state = this.#byName.get(nameOf(poolName, backend.id));
      if (state === undefined) continue;
      backend.healthy = state.healthy;
      backend.enabled = state.enabled;
    }
  }

  /** keepOnly forgets all other backends, so that the configuration bounds the map. */
  keepOnly(planned: Iterable<PlannedBackend>): void {
    const kept = new Set([...planned].map(({ poolName, backend }) => nameOf(poolName, backend.id)));
    for (const name of this.#byName.keys()) if (!kept.has(name)) this.#byName.delete(name);
  }
}

function nameOf(pool: string, backend: string): string {
  return JSON.stringify([pool, backend]);
}
