/** What the primary last said of each backend, kept apart from plans: states may come before the plan that needs them. */
import type { Backend } from '../balance/backend.ts';
import type { BackendAvailability } from '../contract/health.ts';

export class Availability {
  readonly #byName = new Map<string, BackendAvailability>();

  /** learn takes a `backends` message, full or partial. */
  learn(states: readonly BackendAvailability[]): void {
    for (const state of states) this.#byName.set(nameOf(state.pool, state.backend), state);
  }

  /** apply writes what is known to a backend of the plan. */
  apply(pool: string, backend: Backend): void {
    const state = this.#byName.get(nameOf(pool, backend.id));
    if (state === undefined) return;
    backend.healthy = state.healthy;
    backend.enabled = state.enabled;
  }

  /** keepOnly forgets backends that no plan has any more, so that the map is bounded by the configuration. */
  keepOnly(backends: Iterable<{ pool: string; backend: string }>): void {
    const kept = new Set([...backends].map(({ pool, backend }) => nameOf(pool, backend)));
    for (const name of this.#byName.keys()) if (!kept.has(name)) this.#byName.delete(name);
  }
}

function nameOf(pool: string, backend: string): string {
  return JSON.stringify([pool, backend]);
}
