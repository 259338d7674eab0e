/**
 * The books of one worker and one bucket, kept from outside: what the store's replies brought to it, what it spent and what
 * it sent back. Whoever spends what is not there is found out at once.
 */

/** Tokens granted to requests by one reply; what nobody uses at once is lost. */
export interface Grant {
  tokens: number;
  /** The store's epoch. */
  epoch: number;
  /** When they left the bucket, or the lot; and their place among the takes of the store. */
  executedMs: number;
  order: number;
}

/** Tokens lent ahead by one reply. */
export interface Lot {
  /** Number of the take that lent it. */
  order: number;
  epoch: number;
  /** In hand, or on the way. */
  left: number;
  /** null: on the way, or never. */
  arrivedMs: number | null;
  expiresMs: number;
  spent: Spending[];
  /** Spent tokens that the store has been told of. */
  told: number;
}

interface Spending {
  atMs: number;
  tokens: number;
  order: number;
}

/** Where the tokens of a decision came from, for giving them back. */
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

/** A lot that has expired may still be sent back for so long; the store refuses it later. */
const RETURNABLE_MS = 100;
/** Tokens of requests that did not go on: the limiter may try for so long, whatever the store says. */
const UNUSED_MS = 10_000;

export class Ledger {
  readonly #complain: (text: string) => void;
  #grants: Grant[] = [];
  /** Granted to requests that did not use them; these may be put back. */
  #unused: Grant[] = [];
  #lots: Lot[] = [];

  constructor(complain: (text: string) => void) {
    this.#complain = complain;
  }

  /** held is what this worker may still spend as a lease, or will be able to when the reply arrives. */
  held(nowMs: number): number {
    let sum = 0;
    for (const lot of this.#lots) if (lot.expiresMs > nowMs) sum += lot.left;
    return sum;
  }

  /** lend is called when the store lends, before anybody knows whether the reply will arrive. */
  lend({ tokens, ...lot }: { tokens: number } & Pick<Lot, 'order' | 'epoch' | 'expiresMs'>): void {
    this.#lots.push({ ...lot, left: tokens, arrivedMs: null, spent: [], told: 0 });
  }

  /** lentArrived is called with the reply that brings a lot. */
  lentArrived(order: number, nowMs: number): void {
    const lot = this.#lots.find((one) => one.order === order);
    if (lot !== undefined) lot.arrivedMs = nowMs;
  }

  /** arrive is called with a reply: its grant is for requests that are answered now. */
  arrive(grant: Grant): void {
    if (grant.tokens > 0) this.#grants.push(grant);
  }

  /** The end of an event: tokens that were granted to requests have been used, or are to go back, or are lost. */
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

  /** @param origin what the decision says about the lot that it was spent from first */
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
   * unspend is for a request that did not go on. Lease tokens are in their lot again, or, like a grant, can serve another
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
   * sendBack is called when a take leaves that returns lease tokens. They may be of a later epoch than they are said to be:
   * the store then holds room for them for longer than they exist. Never of an earlier one.
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

  /** tell is called when a take leaves that reports lease tokens as spent. */
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
   * putBack is called when a take leaves that returns tokens granted to requests; the result is when they were granted.
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

  /** From outside nobody sees which lot was spent from: others that were in hand at the time may have paid. */
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
