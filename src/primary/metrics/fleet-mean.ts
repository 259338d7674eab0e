/**
 * Tells workers how many client connections they hold on average. The kernel gives a new connection to whichever worker wakes
 * first, so with more workers than CPUs some collect twice their part; a worker above the mean sheds its surplus with
 * `Connection: close` on answers (worker/inbound/server.ts).
 */
import type { PrimaryMessage } from '../../contract/messages.ts';
import type { WorkerView } from '../workers/worker-slot.ts';

const TELL_EVERY_MS = 1_000;

interface FleetMeanOptions {
  workers: () => WorkerView[];
  broadcast: (message: PrimaryMessage) => void;
}

/** startFleetMean begins to tell; returns how to stop. For the primary's main. */
export function startFleetMean({ workers, broadcast }: FleetMeanOptions): () => void {
  // Their number is fixed: a single one never has a mean.
  if (workers().length < 2) return () => undefined;
  const timer = setInterval(() => {
    const meanConnections = meanOf(workers());
    if (meanConnections !== null) broadcast({ type: 'fleet', meanConnections });
  }, TELL_EVERY_MS).unref();
  return () => clearInterval(timer);
}

/** meanOf is null while there are not two serving workers with a report: then nobody can have too many. */
export function meanOf(workers: readonly WorkerView[]): number | null {
  const counts = workers.flatMap(({ state, report }) =>
    state === 'serving' && report !== null ? [report.connections] : [],
  );
  if (counts.length < 2) return null;
  return counts.reduce((sum, count) => sum + count, 0) / counts.length;
}
