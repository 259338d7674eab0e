/**
 * Counts wrong tokens per address and says when one has sent too many. A right token is never refused: whoever shares an
 * address with an operator (a proxy, this machine) could otherwise lock the operator out. So this does not make a weak token
 * strong; it makes guessing visible, and cheap for the log.
 */
import { canonicalAddress, groupOf } from '../../contract/addresses.ts';
import type { Clock } from '../../contract/clock.ts';

/** Wrong tokens of one address within WINDOW_MS before it is throttled. */
const ALLOWED = 5;
const WINDOW_MS = 60_000;
/** The first period, which doubles each time, and the longest. */
const FIRST_MS = 10_000;
const LONGEST_MS = 600_000;
/** Addresses that are remembered; the one that failed longest ago is forgotten. */
const MAX_ADDRESSES = 1_024;

interface Record {
  failures: number;
  sinceMs: number;
  throttledUntilMs: number;
  periodMs: number;
}

/** Verdict on a wrong token: `first` is the one that begins a period, for the log. */
interface Verdict {
  /** 0: it is refused like any other. */
  retryAfterSec: number;
  first: boolean;
}

export class WrongTokens {
  readonly #clock: Clock;
  /** By IPv4 address or IPv6 /64, the one that failed longest ago first. */
  readonly #records = new Map<string, Record>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** add counts one. @param peer address of the connection, never one that a field names */
  add(peer: string): Verdict {
    const now = this.#clock.monotonicMs();
    const key = sourceOf(peer);
    const known = this.#records.get(key);
    const record = known === undefined || isOver(known, now) ? fresh(now) : known;
    // Deleted first, so that it moves to the end.
    this.#records.delete(key);
    this.#records.set(key, record);
    if (this.#records.size > MAX_ADDRESSES) this.#records.delete(this.#records.keys().next().value ?? '');
    if (now < record.throttledUntilMs)
      return { retryAfterSec: Math.ceil((record.throttledUntilMs - now) / 1_000), first: false };
    return this.#count(record, now);
  }

  #count(record: Record, now: number): Verdict {
    record.failures += 1;
    if (record.failures <= ALLOWED) return { retryAfterSec: 0, first: false };
    // From now on each further one begins a period: the count stays above ALLOWED.
    record.throttledUntilMs = now + record.periodMs;
    const retryAfterSec = Math.ceil(record.periodMs / 1_000);
    record.periodMs = Math.min(2 * record.periodMs, LONGEST_MS);
    return { retryAfterSec, first: true };
  }

  /** forget is called for a right token: whoever has it does not guess. */
  forget(peer: string): void {
    if (this.#records.size > 0) this.#records.delete(sourceOf(peer));
  }
}

/** sourceOf is whom a refused caller counts as: its address, or the /64 that its IPv6 address is in. */
export function sourceOf(peer: string): string {
  return groupOf(canonicalAddress(peer) ?? '127.0.0.1', 32, 64);
}

function fresh(now: number): Record {
  return { failures: 0, sinceMs: now, throttledUntilMs: 0, periodMs: FIRST_MS };
}

/** An address that was throttled starts anew once it has been quiet for as long as its next period would last. */
function isOver({ failures, sinceMs, throttledUntilMs, periodMs }: Record, now: number): boolean {
  return failures <= ALLOWED ? now - sinceMs >= WINDOW_MS : now - throttledUntilMs >= periodMs;
}
