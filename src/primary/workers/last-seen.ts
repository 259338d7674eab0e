/** When clients were last seen, over all workers of this machine: each has the requests of its own connections. */
import { LbError } from '../../contract/errors.ts';
import { SEEN_PART_MAX } from '../../contract/messages.ts';
import type { WorkerLink } from './worker-link.ts';

/** A worker answers within a turn of its loop; one that takes longer is left out. */
const ANSWER_MS = 1_000;

type Link = Pick<WorkerLink, 'ask'>;
/** By the client's id: ISO 8601 to the second; null: not since the workers began. Without those of whom a silent worker may know more. */
type Seen = ReadonlyMap<string, string | null>;

/** LastSeen is made by the primary, for the admin port. */
export class LastSeen {
  readonly #links: () => readonly Link[];
  /** Under way. */
  #asking: Promise<Seen> | null = null;
  /** Begins when #asking is over, for everybody who has come meanwhile. */
  #waiting: { clientIds: Set<string>; seen: Promise<Seen> } | null = null;

  /** @param links of all workers that have requests */
  constructor(links: () => readonly Link[]) {
    this.#links = links;
  }

  /**
   * of takes 2 s at most, because one ask is under way and one waits for it. It never rejects: what no worker can tell in time is not in the
   * answer, nor is what does not fit into the ask that waits.
   *
   * @param clientIds at most SEEN_PART_MAX
   */
  async of(clientIds: readonly string[]): Promise<Seen> {
    if (clientIds.length === 0) return new Map();
    if (this.#waiting === null) {
      if (this.#asking === null) return this.#begin(clientIds);
      this.#waiting = { clientIds: new Set(), seen: this.#asking.then(this.#beginNext, this.#beginNext) };
    }
    const { clientIds: ids, seen } = this.#waiting;
    const fresh = clientIds.filter((clientId) => !ids.has(clientId));
    if (ids.size + fresh.length > SEEN_PART_MAX) return new Map();
    for (const clientId of fresh) ids.add(clientId);
    return seen;
  }

  readonly #beginNext = (): Promise<Seen> => {
    const ids = [...(this.#waiting?.clientIds ?? [])];
    this.#waiting = null;
    return this.#begin(ids);
  };

  #begin(clientIds: readonly string[]): Promise<Seen> {
    const asking = this.#askAll(clientIds).finally(() => {
      // Before whoever waits for it begins another one.
      this.#asking = null;
    });
    this.#asking = asking;
    return asking;
  }

  async #askAll(clientIds: readonly string[]): Promise<Seen> {
    const answers = await Promise.all(this.#links().map((link) => ask(link, [...clientIds])));
    const parts = answers.filter((part) => part !== null);
    const isWhole = parts.length === answers.length;
    const seen = new Map<string, string | null>();
    for (const [i, clientId] of clientIds.entries()) {
      const sec = Math.max(0, ...parts.map((part) => part[i] ?? 0));
      if (sec > 0) seen.set(clientId, isoOf(sec));
      else if (isWhole) seen.set(clientId, null);
    }
    return seen;
  }
}

/** null: it has not answered. One that has ended takes with it what it has seen. */
async function ask(link: Link, clientIds: string[]): Promise<number[] | null> {
  try {
    return (await link.ask('seen-clients', ANSWER_MS, (id) => ({ type: 'list-seen', id, clientIds })))
      .seenSecs;
  } catch (error) {
    if (!(error instanceof LbError)) throw error;
    return error.code === 'worker_gone' ? [] : null;
  }
}

/** To the second: 2026-12-01T06:00:00Z. */
function isoOf(sec: number): string {
  return new Date(sec * 1000).toISOString().replace('.000Z', 'Z');
}
