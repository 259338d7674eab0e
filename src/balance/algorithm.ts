import type { Backend } from './backend.ts';

/** Algorithm is what a BackendSet picks with; one per pool and plan, one file per kind. */
export interface Algorithm {
  /**
   * Next backend among those available and not in `tried`; null only when there is none. Synchronous and free of
   * allocation: it runs once or more per request.
   */
  pick(tried: readonly Backend[]): Backend | null;
}
