/** The tunnels of all workers, page by page: each worker is asked for parts of a bounded size, so that no message is huge. */
import { LbError } from '../../contract/errors.ts';
import { TUNNELS_PART_MAX, type TunnelView } from '../../contract/messages.ts';
import type { WorkerLink } from './worker-link.ts';

/** A worker answers within a turn of its loop; one that takes longer hangs. */
const ANSWER_MS = 1_000;

/** TunnelCursor is where a page begins: behind this tunnel of this worker slot. */
export interface TunnelCursor {
  worker: number;
  /** Of the process that numbered it; another one in the slot has begun again from 1. */
  pid: number;
  number: number;
}

export interface ListedTunnel extends TunnelView {
  /** Number of the worker slot. */
  worker: number;
  pid: number;
}

type Link = Pick<WorkerLink, 'index' | 'pid' | 'ask'>;

/** TunnelList is made by the primary, for the admin port. */
export class TunnelList {
  readonly #links: () => readonly Link[];

  /** @param links of the workers that can be asked, in any order */
  constructor(links: () => readonly Link[]) {
    this.#links = links;
  }

  /**
   * page lists tunnels in the order of the worker slots, and of their opening in each. A worker that ends meanwhile is left out.
   * Rejects with LbError `worker_timeout` if one does not answer.
   */
  async page(
    limit: number,
    after: TunnelCursor,
  ): Promise<{ items: ListedTunnel[]; next: TunnelCursor | null }> {
    const items: ListedTunnel[] = [];
    // A worker and its replacement have the same number.
    const links = [...this.#links()].sort((a, b) => a.index - b.index || a.pid - b.pid);
    const isPlace = (link: Link): boolean => link.index === after.worker && link.pid === after.pid;
    const place = links.findIndex(isPlace);
    const first = place >= 0 ? place : links.findIndex(({ index }) => index >= after.worker);
    for (const link of first < 0 ? [] : links.slice(first)) {
      let number = isPlace(link) ? after.number : 0;
      for (let more = true; more; ) {
        // One more than the page holds tells whether there is another page.
        const part = await ask(link, number, Math.min(TUNNELS_PART_MAX, limit + 1 - items.length));
        items.push(...part.items.map((view) => ({ ...view, worker: link.index, pid: link.pid })));
        const last = items[limit - 1];
        if (items.length > limit && last !== undefined) {
          const { worker, pid, number: lastNumber } = last;
          return { items: items.slice(0, limit), next: { worker, pid, number: lastNumber } };
        }
        number = part.items.at(-1)?.number ?? number;
        more = part.more && part.items.length > 0;
      }
    }
    return { items, next: null };
  }
}

async function ask(
  link: Link,
  after: number,
  limit: number,
): Promise<{ items: TunnelView[]; more: boolean }> {
  try {
    return await link.ask('tunnels', ANSWER_MS, (id) => ({ type: 'list-tunnels', id, after, limit }));
  } catch (error) {
    if (error instanceof LbError && error.code === 'worker_gone') return { items: [], more: false };
    throw error;
  }
}
