import { TOP_PART_MAX, type TopOrder, type TopPart } from '../../contract/top-callers.ts';
import { HeavyHitters } from './heavy-hitters.ts';

/** Places of the callers of all requests, and of those that are limited: far fewer are. */
const SENDERS = 4_096;
const LIMITED = 2_048;

/** CallerRates is made once per worker: who sends most, and who is limited most. */
export class CallerRates {
  readonly requests: HeavyHitters;
  readonly limited: HeavyHitters;

  constructor(nowMs: number) {
    this.requests = new HeavyHitters(SENDERS, nowMs);
    this.limited = new HeavyHitters(LIMITED, nowMs);
  }

  /** See HeavyHitters. */
  advance(nowMs: number): void {
    this.requests.advance(nowMs);
    this.limited.advance(nowMs);
  }

  /** top answers `list-top`. */
  top(by: TopOrder, nowMs: number): TopPart {
    this.advance(nowMs);
    const { items, totalPerSec, errorPerSec } = this[by].top(TOP_PART_MAX);
    const other = by === 'requests' ? this.limited : this.requests;
    const shown = items.map(({ name, isClient, perSec, hash }) => {
      const otherPerSec = other.rateOf(hash);
      const rates = by === 'requests' ? [perSec, otherPerSec] : [Math.max(perSec, otherPerSec), perSec];
      return { name, isClient, requestsPerSec: rates[0]!, limitedPerSec: rates[1]! };
    });
    // Of a caller who is not shown no more requests are limited than it sends. The other way round there is no such bound.
    const bound = by === 'requests' ? Math.max(errorPerSec, other.rateErrorPerSec) : errorPerSec;
    return { items: shown, totalPerSec, errorPerSec: bound };
  }
}
