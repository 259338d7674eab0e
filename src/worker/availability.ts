/** The last known state of each backend. It is kept apart from plans because states may come before the plan that needs them. */
import type { Backend } from '../balance/backend.ts';
import type { BackendAvailability } from '../contract/health.ts';

export class Availability {
  readonly #byName = new Map<string, BackendAvailability>();

  /** learn takes a `backends` message, full or partial. */
  learn(states: readonly BackendAvailability[]): void {
    for (const state of states) this.#byName.set(nameOf(state.pool, state.backend), state);
  }

  /** apply copies what is known to a backend of the plan. */
  apply(pool: string, backend: Backend): void {
    const state = this.#byName.get(nameOf(pool, backend.id));
    if (state === undefined) return;
    backend.healthy = state.healthy;
    backend.enabled = state.enabled;
  }

  /** keepOnly forgets all other backends, so that the configuration bounds the map. */
  keepOnly(planned: Iterable<{ poolName: string; backend: Backend }>): void {
    const kept = new Set([...planned].map(({ poolName, backend }) => nameOf(poolName, backend.id)));
    for (const name of this.#byName.keys()) if (!kept.has(name)) this.#byName.delete(name);
  }
}

function nameOf(pool: string, backend: string): string {
  return JSON.stringify([pool, backend]);
}
