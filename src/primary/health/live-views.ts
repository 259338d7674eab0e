/** What the workers have seen of a backend: they are asked, because each knows only its own requests. */
import { systemClock } from '../../contract/clock.ts';
import { LbError } from '../../contract/errors.ts';
import type { WorkerLink } from '../workers/worker-link.ts';

/** A worker answers within a turn of its loop; one that takes longer is left out. */
const ANSWER_MS = 100;

export type AskedWorker = Pick<WorkerLink, 'send' | 'waitFor'>;

/** LiveView is what one worker has seen; times are of this process's monotonic clock. */
interface LiveView {
  /** -Infinity: no success yet. */
  okAtMs: number;
  /** Its last errors in a row, at most `consecutiveErrors`. */
  errorsAtMs: number[];
}

let lastId = 0;

/** askWorkers asks all at once; for ejections.ts. Never rejects. */
export async function askWorkers(
  links: readonly AskedWorker[],
  pool: string,
  backend: string,
): Promise<LiveView[]> {
  const asked = links.map(async (link): Promise<LiveView[]> => {
    const id = ++lastId;
    const answered = link.waitFor('backend-results', ANSWER_MS, (message) => message.id === id);
    link.send({ type: 'ask-backend', id, pool, backend });
    try {
      const { okAgoMs, errorsAgoMs } = await answered;
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
