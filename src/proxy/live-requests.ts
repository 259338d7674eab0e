/**
 * The requests of this worker that somebody watches: their access lines go to the primary in batches. While nobody watches, a request costs
 * the check of one field. A viewer gets PER_SEC lines a second, with a burst of as many; what is left out is counted. While one batch of a viewer waits for the primary, no other one is made.
 */
import { canonicalRange } from '../contract/addresses.ts';
import type { WorkerMessage } from '../contract/messages.ts';
import { failureOf, meantStatus } from '../contract/request-failure.ts';
import type { RequestFilter, StatusRange } from '../contract/request-watch.ts';
import { AddressRanges } from '../infra/address-ranges.ts';
import { accessLine } from './access-log.ts';
import type { AccessRecord } from './access-record.ts';

const PER_SEC = 50;
const BATCH_EVERY_MS = 200;
const PER_BATCH = (PER_SEC * BATCH_EVERY_MS) / 1000;
/** More viewers than the primary has. */
const MAX_WATCHES = 20;

interface Watch {
  filter: RequestFilter;
  /** That of `filter.client`, where it is one; it may be the id of a client, too. */
  range: AddressRanges | null;
  /** Lines that it may still have. */
  room: number;
  lines: string[];
  dropped: number;
  /** Whether its last batch has not left the process yet. */
  isUnsent: boolean;
}

/** LiveRequests is made once per worker. */
export class LiveRequests {
  /** Whether somebody watches; read for each request. */
  isWatched = false;
  readonly #send: (message: WorkerMessage, onLeft: () => void) => boolean;
  readonly #watches = new Map<number, Watch>();
  #timer: NodeJS.Timeout | undefined;

  /** @param send of PrimaryLink */
  constructor(send: (message: WorkerMessage, onLeft: () => void) => boolean) {
    this.#send = send;
  }

  /** watch begins with the next request that ends. @param id of the viewer */
  watch(id: number, filter: RequestFilter): void {
    if (this.#watches.size >= MAX_WATCHES) return;
    const range = rangeOf(filter.client);
    this.#watches.set(id, { filter, range, room: PER_SEC, lines: [], dropped: 0, isUnsent: false });
    this.isWatched = true;
    this.#timer ??= setInterval(() => this.#sendBatches(), BATCH_EVERY_MS).unref();
  }

  unwatch(id: number): void {
    this.#watches.delete(id);
    if (this.#watches.size === 0) this.stop();
  }

  /** stop ends all watches: nobody is there to see them. */
  stop(): void {
    this.#watches.clear();
    this.isWatched = false;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** offer is called with the whole record of a request, only while isWatched. */
  offer(record: AccessRecord): void {
    let line: string | null = null;
    for (const watch of this.#watches.values()) {
      if (!passes(record, watch)) continue;
      if (watch.room === 0) watch.dropped += 1;
      else {
        line ??= lineOf(record);
        watch.lines.push(line);
        watch.room -= 1;
      }
    }
  }

  #sendBatches(): void {
    for (const [id, watch] of this.#watches) {
      const { lines, dropped, isUnsent } = watch;
      // Nor has it more room then: its lines stay at PER_SEC.
      if (isUnsent) continue;
      watch.room = Math.min(PER_SEC, watch.room + PER_BATCH);
      if (lines.length === 0 && dropped === 0) continue;
      watch.lines = [];
      watch.dropped = 0;
      watch.isUnsent = true;
      const onLeft = (): void => {
        watch.isUnsent = false;
      };
      if (this.#send({ type: 'watched-requests', id, lines, dropped }, onLeft)) continue;
      // A primary that does not read is told later.
      watch.isUnsent = false;
      watch.dropped = dropped + lines.length;
    }
  }
}

/** The access line, and whose failure it is. */
function lineOf(record: AccessRecord): string {
  return `${accessLine(record).trimEnd().slice(0, -1)},"failure":"${failureOf(record)}"}`;
}

function rangeOf(client: string | null): AddressRanges | null {
  const range = client === null ? null : canonicalRange(client);
  return range?.includes('/') ? new AddressRanges([range]) : null;
}

/** A range costs as much as all of the rest, many times over: it comes last. */
function passes(record: AccessRecord, { filter, range }: Watch): boolean {
  const { client, route, status, slowerThanMs } = filter;
  if (route !== null && record.route !== route) return false;
  if (status !== null && !isIn(record.status, status) && !isIn(meantStatus(record), status)) return false;
  if (slowerThanMs !== null && !(record.totalMs > slowerThanMs)) return false;
  if (client === null || record.clientId === client || record.clientIp === client) return true;
  return range?.has(record.clientIp) ?? false;
}

function isIn(status: number, { from, to }: StatusRange): boolean {
  return status >= from && status <= to;
}
