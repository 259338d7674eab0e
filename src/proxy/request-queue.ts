/** Requests of a pool that wait for a backend with room, in order of arrival (B11). */
import type { Algorithm } from '../balance/algorithm.ts';
import type { PlaceAmongWorkers } from '../contract/messages.ts';
import type { PoolSettings } from '../contract/pool-settings.ts';
import { shareOf } from './share.ts';

/** Choosy requests that cannot use the room that there is are passed over, this many at most: a bound on the work of one wake. */
const PASSED_OVER_MAX = 32;

/** QueuedRequest is what the queue needs of a request. */
export interface QueuedRequest {
  /** Whether others may have more backends to choose from: it is a retry, or of an older plan. */
  readonly isChoosy: boolean;
  /** tryQueued leaves the queue and begins an attempt; never throws. @returns false where no backend has room for it */
  tryQueued(): boolean;
}

/** RequestQueue is made once per pool and worker; plans pass it on, so that a reload loses nobody who waits. */
export class RequestQueue {
  timeoutMs = 0;
  /** Of the newest plan. */
  algorithm: Algorithm | null = null;
  #max = 0;
  /** A Set, because a client may leave from its middle. */
  readonly #waiting = new Set<QueuedRequest>();

  /** configure is called with each plan. */
  configure({ queue, queueTimeoutMs }: PoolSettings['limits'], place: PlaceAmongWorkers): void {
    this.#max = queue === 0 ? 0 : shareOf(queue, place);
    this.timeoutMs = queueTimeoutMs;
  }

  get isFull(): boolean {
    return this.#waiting.size >= this.#max;
  }

  /** add lets a request wait, which sees to it that it waits no longer than timeoutMs. @returns false where the queue is full */
  add(request: QueuedRequest): boolean {
    if (this.isFull) return false;
    this.#waiting.add(request);
    return true;
  }

  remove(request: QueuedRequest): void {
    this.#waiting.delete(request);
  }

  /** wake is called when a backend has room again. It begins what it can at once, so that no later request takes the room. */
  wake(): void {
    let passedOver = 0;
    for (const request of this.#waiting)
      if (!request.tryQueued() && (!request.isChoosy || ++passedOver > PASSED_OVER_MAX)) break;
  }
}
