/**
 * The books of one worker and one bucket, kept from outside: tokens received from the store, spent and returned. Spending a
 * token that is not there is reported at once.
 */

/** Tokens granted to requests by one reply. Unused ones are lost. */
export interface Grant {
  tokens: number;
  /** The store's epoch. */
  epoch: number;
  /** When they left the bucket or the lot, and the sequence number of the take. */
  executedMs: number;
  order: number;
}

/** Lease tokens of one reply. */
export interface Lot {
  /** Sequence number of the take that lent it. */
  order: number;
  epoch: number;
  /** Held by the worker, or on the way to it. */
  left: number;
  /** null: not arrived. */
  arrivedMs: number | null;
  expiresMs: number;
  spent: Spending[];
  /** Spent tokens that were reported to the store. */
  told: number;
}

interface Spending {
  atMs: number;
  tokens: number;
  order: number;
}

/** The origin of the tokens of a decision, to give them back. */
export interface Source {
  grant: Grant | null;
  lots: { lot: Lot; spending: Spending }[];
}

export interface Moment {
  atMs: number;
  order: number;
}

/** A lot as the limiter knows it. */
export interface Origin {
  epoch: number;
  /** As simulated time. */
  expiresMs: number;
}

/** An expired lot may still be returned for this time; later the store refuses it. */
const RETURNABLE_MS = 100;
/** For this time the limiter may try to return tokens of requests that were not admitted. */
const UNUSED_MS = 10_000;

export class Ledger {
  readonly #complain: (text: string) => void;
  #grants: Grant[] = [];
  /** Granted to requests that did not use them; may be returned. */
  #unused: Grant[] = [];
  #lots: Lot[] = [];

  constructor(complain: (text: string) => void) {
    this.#complain = complain;
  }

  /** held is the number of lease tokens that this worker has, or will have when the reply arrives. */
  held(nowMs: number): number {
    let sum = 0;
    for (const lot of this.#lots) if (lot.expiresMs > nowMs) sum += lot.left;
    return sum;
  }

  /** lend is called when the store lends, whether or not the reply arrives later. */
  lend({ tokens, ...lot }: { tokens: number } & Pick<Lot, 'order' | 'epoch' | 'expiresMs'>): void {
    this.#lots.push({ ...lot, left: tokens, arrivedMs: null, spent: [], told: 0 });
  }

  /** lentArrived is called with the reply that brings a lot. */
  lentArrived(order: number, nowMs: number): void {
    const lot = this.#lots.find((one) => one.order === order);
    if (lot !== undefined) lot.arrivedMs = nowMs;
  }

  /** arrive is called with a reply, whose grant is for requests that are decided now. */
  arrive(grant: Grant): void {
    if (grant.tokens > 0) this.#grants.push(grant);
  }

  /** Ends an event: granted tokens are used, to be returned, or lost. */
  close(nowMs: number): void {
    if (this.#grants.length > 0) {
      this.#unused.push(...this.#grants.filter(({ tokens }) => tokens > 0));
      this.#grants = [];
    }
    const oldest = this.#unused[0];
    if (oldest !== undefined && oldest.executedMs + UNUSED_MS < nowMs) this.#unused.shift();
    const first = this.#lots[0];
    if (first !== undefined && first.expiresMs + RETURNABLE_MS < nowMs) {
      this.#lots = this.#lots.filter((lot) => lot.expiresMs + RETURNABLE_MS >= nowMs);
    }
  }

  spendGrant(tokens: number): Source {
    const grant = this.#grants.find((found) => found.tokens >= tokens);
    if (grant === undefined) {
      this.#complain(`spent ${tokens} tokens of the store that no reply of this moment brought`);
      return { grant: null, lots: [] };
    }
    grant.tokens -= tokens;
    return { grant, lots: [] };
  }

  /** @param origin the lot that the decision names as spent first */
  spendLease(tokens: number, { atMs: nowMs, order }: Moment, origin: Origin | null): Source {
    const lots: Source['lots'] = [];
    let missing = tokens;
    const first =
      origin === null ? -1 : this.#lots.findIndex((lot) => lot.arrivedMs !== null && isSame(lot, origin));
    for (const lot of this.#lots.slice(Math.max(0, first))) {
      if (lot.arrivedMs === null || lot.expiresMs <= nowMs || lot.left === 0 || missing === 0) continue;
      const spending = { atMs: nowMs, tokens: Math.min(missing, lot.left), order };
      lot.left -= spending.tokens;
      missing -= spending.tokens;
      lot.spent.push(spending);
      lots.push({ lot, spending });
    }
    if (missing > 0) this.#complain(`spent ${tokens} tokens on lease, of which ${missing} were not in hand`);
    return { grant: null, lots };
  }

  /**
   * unspend is for a request that was not admitted. Lease tokens return to their lot or, like a grant, serve another
   * request now or go back to the store.
   */
  unspend(source: Source, tokens: number, intoLot: boolean): void {
    if (source.grant !== null) this.#grants.push({ ...source.grant, tokens });
    const first = source.lots[0];
    if (first === undefined) return;
    const { lot, spending } = first;
    if (intoLot) lot.left += tokens;
    else this.#grants.push({ tokens, epoch: lot.epoch, executedMs: spending.atMs, order: spending.order });
    if (intoLot) for (const each of source.lots) each.spending.tokens = 0;
  }

  /**
   * sendBack is called when a take that returns lease tokens is sent. They may be of a later epoch than the take says (the
   * store then keeps room for them too long), never of an earlier one.
   */
  sendBack(tokens: number, epoch: number): void {
    const arrived = this.#lots.filter((lot) => lot.arrivedMs !== null && lot.epoch >= epoch);
    const named = arrived.filter((lot) => lot.epoch === epoch);
    let missing = tokens;
    const takeFrom = (lots: readonly Lot[]) => {
      for (const lot of lots) {
        const back = Math.min(missing, lot.left);
        lot.left -= back;
        missing -= back;
      }
    };
    takeFrom(named);
    for (const lot of named) if (missing > 0) this.#makeLeft(lot, missing);
    takeFrom(named);
    takeFrom(arrived);
    if (missing > 0) this.#complain(`sent ${tokens} lease tokens back, of which ${missing} were not in hand`);
  }

  /** tell is called when a take that reports spent lease tokens is sent. */
  tell(tokens: number, epoch: number): void {
    let missing = tokens;
    for (const lot of this.#lots) {
      if (lot.epoch !== epoch) continue;
      const untold = lot.spent.reduce((sum, spending) => sum + spending.tokens, 0) - lot.told;
      const told = Math.min(missing, untold);
      lot.told += told;
      missing -= told;
    }
    if (missing > 0) this.#complain(`reported ${tokens} lease tokens as spent, of which ${missing} were not`);
  }

  /**
   * putBack is called when a take that returns tokens granted to requests is sent. It returns when they were granted.
   *
   * @param epoch they may be younger than it says, never older
   */
  putBack(tokens: number, epoch: number, nowMs: number): number {
    let missing = tokens;
    let sinceMs = nowMs;
    for (const grant of this.#unused) {
      if (grant.epoch < epoch) continue;
      const back = Math.min(missing, grant.tokens);
      if (back > 0) sinceMs = Math.min(sinceMs, grant.executedMs);
      grant.tokens -= back;
      missing -= back;
    }
    this.#unused = this.#unused.filter((grant) => grant.tokens > 0);
    if (missing > 0)
      this.#complain(`put ${tokens} tokens back, of which ${missing} had been used or never granted`);
    return sinceMs;
  }

  /** From outside it cannot be known which lot was spent: others held at the time may have been. */
  #makeLeft(lot: Lot, wanted: number): void {
    for (const spending of lot.spent) {
      for (const other of this.#lots) {
        if (lot.left >= wanted) return;
        if (other === lot || other.left === 0 || !wasInHand(other, spending.atMs)) continue;
        const moved = Math.min(other.left, spending.tokens, wanted - lot.left);
        if (moved === 0) continue;
        spending.tokens -= moved;
        other.left -= moved;
        other.spent.push({ ...spending, tokens: moved });
        lot.left += moved;
      }
    }
  }
}

function wasInHand({ arrivedMs, expiresMs }: Lot, atMs: number): boolean {
  return arrivedMs !== null && arrivedMs <= atMs && atMs < expiresMs;
}

function isSame(lot: Lot, origin: Origin): boolean {
  return lot.epoch === origin.epoch && Math.abs(lot.expiresMs - origin.expiresMs) < 0.001;
}
