/** Asks a serving worker which way a request would take. */
import { LbError } from '../../contract/errors.ts';
import type { ExplainQuery, Explanation } from '../../contract/explain.ts';
import type { WorkerLink } from './worker-link.ts';

/** A worker answers within a turn of its loop; one that takes longer hangs. */
const ANSWER_MS = 1_000;
/** Workers that are asked in turn, where one ends, hangs or fails. */
const ASKED_MAX = 3;

type Link = Pick<WorkerLink, 'index' | 'ask'>;

/** Explainer is made by the primary, for the admin port. */
export class Explainer {
  readonly #links: () => readonly Link[];

  /** @param links of the workers that serve */
  constructor(links: () => readonly Link[]) {
    this.#links = links;
  }

  /**
   * explain resolves with the answer and the number of the worker that gave it. Rejects with LbError `worker_gone` where none serves or
   * can tell, and with `worker_timeout` where the last one asked does not answer.
   */
  async explain(query: ExplainQuery): Promise<{ worker: number; explanation: Explanation }> {
    const question = (id: number) => ({ type: 'explain', id, ...query }) as const;
    let failure = new LbError('worker_gone', 'no worker serves');
    for (const link of this.#links().slice(0, ASKED_MAX)) {
      try {
        const { explanation } = await link.ask('explained', ANSWER_MS, question);
        if (explanation !== null) return { worker: link.index, explanation };
        failure = new LbError('worker_gone', `worker ${link.index} cannot explain the request`);
      } catch (error) {
        if (!(error instanceof LbError)) throw error;
        failure = error;
      }
    }
    throw failure;
  }
}
