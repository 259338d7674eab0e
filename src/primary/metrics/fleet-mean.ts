/**
 * Tells the workers their mean number of client connections. The kernel gives a new connection to whichever worker wakes
 * first, so with more workers than CPUs some collect twice their share. A worker above the mean ends its surplus with
 * `Connection: close` on answers (worker/inbound/server.ts).
 */
import type { Supervisor } from '../workers/supervisor.ts';
import type { WorkerView } from '../workers/worker-slot.ts';

const TELL_EVERY_MS = 1_000;

/** startFleetMean tells them once a second; the primary's main calls it. Returns a function that stops it. */
export function startFleetMean(supervisor: Pick<Supervisor, 'workers' | 'broadcast'>): () => void {
  // The number of workers is fixed, and one alone cannot have too many.
  if (supervisor.workers().length < 2) return () => undefined;
  const timer = setInterval(() => {
    const meanConnections = meanOf(supervisor.workers());
    if (meanConnections !== null) supervisor.broadcast({ type: 'fleet', meanConnections });
  }, TELL_EVERY_MS).unref();
  return () => clearInterval(timer);
}

/** meanOf is null until two serving workers have reported: then none can have too many. */
export function meanOf(workers: readonly WorkerView[]): number | null {
  const counts = workers.flatMap(({ state, report }) =>
    state === 'serving' && report !== null ? [report.connections] : [],
  );
  if (counts.length < 2) return null;
  return counts.reduce((sum, count) => sum + count, 0) / counts.length;
}
