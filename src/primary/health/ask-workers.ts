/** Asks the workers what they have seen of a backend: each knows only its own requests. */
import { systemClock } from '../../contract/clock.ts';
import { LbError } from '../../contract/errors.ts';
import type { WorkerLink } from '../workers/worker-link.ts';

/** A worker answers within a turn of its loop; one that takes longer is left out. */
const ANSWER_MS = 100;

export type AskedWorker = Pick<WorkerLink, 'send' | 'ask'>;

/** SeenByWorker: times are of this process's monotonic clock. */
interface SeenByWorker {
  /** -Infinity: no success yet. */
  okAtMs: number;
  /** Its last errors in a row, at most `consecutiveErrors`. */
  errorsAtMs: number[];
}

/** askWorkers asks all at once; for ejections.ts. Never rejects. */
export async function askWorkers(
  links: readonly AskedWorker[],
  pool: string,
  backend: string,
): Promise<SeenByWorker[]> {
  const question = (id: number) => ({ type: 'ask-backend', id, pool, backend }) as const;
  const asked = links.map(async (link): Promise<SeenByWorker[]> => {
    try {
      const { okAgoMs, errorsAgoMs } = await link.ask('backend-results', ANSWER_MS, question);
      const nowMs = systemClock.monotonicMs();
      return [
        {
          okAtMs: nowMs - (okAgoMs ?? Number.POSITIVE_INFINITY),
          errorsAtMs: errorsAgoMs.map((ago) => nowMs - ago),
        },
      ];
    } catch (error) {
      if (error instanceof LbError) return [];
      throw error;
    }
  });
  return (await Promise.all(asked)).flat();
}
