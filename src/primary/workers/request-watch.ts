/** The viewers of live requests. Each worker sends the lines that a viewer's filter lets through, and as long as it is there. */
import type { PrimaryMessage, WorkerMessage } from '../../contract/messages.ts';
import type { RequestFilter } from '../../contract/request-watch.ts';
import type { WorkerLink } from './worker-link.ts';

/** At most; each costs every worker up to 50 lines a second. */
export const MAX_REQUEST_VIEWERS = 10;

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

/** RequestWatch is made by the primary. */
export class RequestWatch {
  readonly #broadcast: (message: PrimaryMessage) => void;
  readonly #viewers = new Map<number, Viewer>();
  #lastId = 0;

  /** @param broadcast sends to all workers that have requests */
  constructor(broadcast: (message: PrimaryMessage) => void) {
    this.#broadcast = broadcast;
  }

  /** open adds a viewer. @returns how to end it, which may be called again; null: there are too many */
  open(filter: RequestFilter, onRequests: Viewer['onRequests']): (() => void) | null {
    if (this.#viewers.size >= MAX_REQUEST_VIEWERS) return null;
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
