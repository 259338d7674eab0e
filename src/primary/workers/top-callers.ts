/** Who sends most, or is limited most, over all workers: each has the callers of its own connections. */
import { LbError } from '../../contract/errors.ts';
import type { TopCaller, TopOrder, TopPart } from '../../contract/top-callers.ts';
import type { WorkerLink } from './worker-link.ts';

/** A worker answers within a turn of its loop; one that takes longer is left out. */
const ANSWER_MS = 500;

type Link = Pick<WorkerLink, 'send' | 'waitFor'>;

export interface TopCallersView {
  /** The highest rates first. */
  items: TopCaller[];
  totalPerSec: number;
  errorPerSec: number;
  /** Workers that did not answer. */
  silentWorkers: number;
}

/** TopCallers is made by the primary, for the admin port. */
export class TopCallers {
  readonly #links: () => readonly Link[];
  #lastId = 0;

  /** @param links of all workers that have requests */
  constructor(links: () => readonly Link[]) {
    this.#links = links;
  }

  /** top asks all workers at once. Rejects with LbError `worker_timeout` where there are some and none answers. */
  async top(by: TopOrder, limit: number): Promise<TopCallersView> {
    const answers = await Promise.all(this.#links().map((link) => this.#ask(link, by)));
    const parts = answers.filter((part) => part !== null);
    const silentWorkers = answers.length - parts.length;
    if (silentWorkers > 0 && parts.length === 0) throw new LbError('worker_timeout', 'no worker answered');
    const merged = new Map<string, TopCaller>();
    for (const item of parts.flatMap(({ items }) => items)) {
      const known = merged.get(item.name);
      if (known === undefined) merged.set(item.name, { ...item });
      else add(known, item);
    }
    const rateOf = (caller: TopCaller): number =>
      by === 'requests' ? caller.requestsPerSec : caller.limitedPerSec;
    const items = [...merged.values()].sort((a, b) => rateOf(b) - rateOf(a)).slice(0, limit);
    const sum = (of: (part: TopPart) => number): number => parts.reduce((total, part) => total + of(part), 0);
    return {
      items,
      totalPerSec: sum((part) => part.totalPerSec),
      errorPerSec: sum((part) => part.errorPerSec),
      silentWorkers,
    };
  }

  async #ask(link: Link, by: TopOrder): Promise<TopPart | null> {
    this.#lastId += 1;
    const id = this.#lastId;
    const answered = link.waitFor('top-callers', ANSWER_MS, (message) => message.id === id);
    link.send({ type: 'list-top', id, by });
    try {
      return await answered;
    } catch (error) {
      if (error instanceof LbError) return null;
      throw error;
    }
  }
}

function add(known: TopCaller, { isClient, requestsPerSec, limitedPerSec }: TopCaller): void {
  known.isClient ||= isClient;
  known.requestsPerSec += requestsPerSec;
  known.limitedPerSec += limitedPerSec;
}
