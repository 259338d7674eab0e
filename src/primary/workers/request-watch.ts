/** The viewers of live requests. Each worker sends the lines that a viewer's filter lets through, and as long as it is there. */
import type { PrimaryMessage, WorkerMessage } from '../../contract/messages.ts';
import type { RequestFilter } from '../../contract/request-watch.ts';
import type { WorkerLink } from './worker-link.ts';

export type WatchedRequests = Pick<
  Extract<WorkerMessage, { type: 'watched-requests' }>,
  'lines' | 'dropped'
> & {
  /** Number of the worker slot. */
  worker: number;
};

interface Viewer {
  filter: RequestFilter;
  onRequests: (seen: WatchedRequests) => void;
}

/** RequestWatch is made by the primary. It has a viewer for each stream of `GET /api/v1/requests`, which bounds their number. */
export class RequestWatch {
  readonly #broadcast: (message: PrimaryMessage) => void;
  readonly #viewers = new Map<number, Viewer>();
  #lastId = 0;

  /** @param broadcast sends to all workers that have requests */
  constructor(broadcast: (message: PrimaryMessage) => void) {
    this.#broadcast = broadcast;
  }

  /** open adds a viewer. @returns how to end it, which may be called again */
  open(filter: RequestFilter, onRequests: Viewer['onRequests']): () => void {
    const id = ++this.#lastId;
    this.#viewers.set(id, { filter, onRequests });
    this.#broadcast({ type: 'watch-requests', id, filter });
    return () => {
      if (this.#viewers.delete(id)) this.#broadcast({ type: 'unwatch-requests', id });
    };
  }

  /** tell is called with each worker that begins to serve. */
  tell(link: Pick<WorkerLink, 'send'>): void {
    for (const [id, { filter }] of this.#viewers) link.send({ type: 'watch-requests', id, filter });
  }

  /** receive passes on what a worker has seen; for a viewer who has just gone it does nothing. */
  receive(
    worker: number,
    { id, lines, dropped }: Extract<WorkerMessage, { type: 'watched-requests' }>,
  ): void {
    this.#viewers.get(id)?.onRequests({ worker, lines, dropped });
  }
}
