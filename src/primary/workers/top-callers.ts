/** Who sends most, or is limited most, over all workers: each has the callers of its own connections. */
import { type Clock, systemClock } from '../../contract/clock.ts';
import { LbError } from '../../contract/errors.ts';
import { TOP_PART_MAX, type TopCaller, type TopOrder, type TopPart } from '../../contract/top-callers.ts';
import type { WorkerLink } from './worker-link.ts';

/** A worker answers within a turn of its loop; one that takes longer is left out. */
const ANSWER_MS = 500;
/** An ask costs each worker some milliseconds, in which it serves nobody: everybody who wants to know within this time gets the same. */
const SHARED_MS = 1_000;

type Link = Pick<WorkerLink, 'ask'>;

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
  readonly #clock: Clock;
  readonly #shared = new Map<TopOrder, { view: Promise<TopCallersView>; untilMs: number }>();

  /** @param links of the workers whose rates count */
  constructor(links: () => readonly Link[], clock: Clock = systemClock) {
    this.#links = links;
    this.#clock = clock;
  }

  /** top is of this second. Rejects with LbError `worker_timeout` where there are workers and none answers. */
  async top(by: TopOrder, limit: number): Promise<TopCallersView> {
    const nowMs = this.#clock.monotonicMs();
    let shared = this.#shared.get(by);
    if (shared === undefined || nowMs >= shared.untilMs) {
      shared = { view: this.#askAll(by), untilMs: nowMs + SHARED_MS };
      this.#shared.set(by, shared);
    }
    const view = await shared.view;
    return { ...view, items: view.items.slice(0, limit) };
  }

  async #askAll(by: TopOrder): Promise<TopCallersView> {
    const answers = await Promise.all(this.#links().map((link) => ask(link, by)));
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
    const items = [...merged.values()].sort((a, b) => rateOf(b) - rateOf(a)).slice(0, TOP_PART_MAX);
    const sum = (of: (part: TopPart) => number): number => parts.reduce((total, part) => total + of(part), 0);
    return {
      items,
      totalPerSec: sum((part) => part.totalPerSec),
      errorPerSec: sum((part) => part.errorPerSec),
      silentWorkers,
    };
  }
}

async function ask(link: Link, by: TopOrder): Promise<TopPart | null> {
  try {
    return await link.ask('top-callers', ANSWER_MS, (id) => ({ type: 'list-top', id, by }));
  } catch (error) {
    if (error instanceof LbError) return null;
    throw error;
  }
}

function add(known: TopCaller, { isClient, requestsPerSec, limitedPerSec }: TopCaller): void {
  known.isClient ||= isClient;
  known.requestsPerSec += requestsPerSec;
  known.limitedPerSec += limitedPerSec;
}
