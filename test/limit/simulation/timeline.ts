/**
 * The history of one bucket: admissions, changed limits and extra tokens. The guarantee is checked twice: at the times of
 * admission, as it is stated, and at the times of the store's grants.
 */
import { type Limits, WindowOracle } from '../bucket/oracle.ts';

export type StoreEvent = {
  atMs: number;
  /** Sequence number of the take at the store. */
  order: number;
  /** Tokens granted and not arrived at that time. */
  flying: number;
} & ({ kind: 'gift'; tokens: number } | { kind: 'limits'; limits: Limits; leased: number });

export interface Admission {
  atMs: number;
  /** When the token left the bucket; for a lease token, when it was spent. */
  grantedMs: number;
  order: number;
  tokens: number;
}

/** Excess over capacity + rate × time. */
export interface Worst {
  /** In tokens, at the times of admission; and as a share of 1 + rate × delay. */
  onAdmission: number;
  partOfBound: number;
  /** In tokens, at the times of the store's grants. */
  onGrant: number;
}

export function worse(a: Worst, b: Worst): Worst {
  return {
    onAdmission: Math.max(a.onAdmission, b.onAdmission),
    partOfBound: Math.max(a.partOfBound, b.partOfBound),
    onGrant: Math.max(a.onGrant, b.onGrant),
  };
}

export const NONE: Worst = { onAdmission: 0, partOfBound: 0, onGrant: 0 };

type Entry = { atMs: number; order: number } & (
  | { kind: 'admission'; tokens: number }
  | { kind: 'event'; event: StoreEvent }
);

/** The extra token of the guarantee, for fractions that the ideal bucket does not have. */
const ONE = 1;

export class Timeline {
  readonly #lagMs: number;
  readonly #first: { limits: Limits; atMs: number };
  readonly #onAdmission: WindowOracle;
  #entries: Entry[] = [];
  #maxRate: number;
  #maxDelayMs = 0;
  #worst = NONE;

  constructor(limits: Limits, atMs: number, lagMs: number) {
    this.#lagMs = lagMs;
    this.#first = { limits, atMs };
    this.#onAdmission = new WindowOracle(limits, atMs);
    this.#maxRate = limits.ratePerSec;
  }

  /** The limits in force in the store. */
  get limits(): Limits {
    return this.#onAdmission.limits;
  }

  get worst(): Worst {
    return this.#worst;
  }

  has({ capacity, ratePerSec }: Limits): boolean {
    return this.limits.capacity === capacity && this.limits.ratePerSec === ratePerSec;
  }

  add(event: StoreEvent): void {
    this.#entries.push({ atMs: event.atMs, order: event.order, kind: 'event', event });
    apply(this.#onAdmission, event, { lagMs: this.#lagMs, flying: event.flying });
    this.#maxRate = Math.max(this.#maxRate, this.limits.ratePerSec);
  }

  /** admit returns what is wrong, or null. */
  admit({ atMs, grantedMs, order, tokens }: Admission, delayMs: number): string | null {
    this.#entries.push({ atMs: grantedMs, order, kind: 'admission', tokens });
    this.#maxDelayMs = Math.max(this.#maxDelayMs, delayMs);
    const excess = this.#onAdmission.spend(atMs, tokens);
    const bound = ONE + (this.#maxRate * this.#maxDelayMs) / 1000;
    this.#worst = worse(this.#worst, { onAdmission: excess, partOfBound: excess / bound, onGrant: 0 });
    return excess > bound
      ? `a window admitted ${excess.toFixed(3)} over capacity + rate × time, ${bound.toFixed(3)} is the bound`
      : null;
  }

  judgeGrants(): string[] {
    const { limits, atMs } = this.#first;
    const oracle = new WindowOracle(limits, atMs);
    this.#entries.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
    for (const entry of this.#entries) {
      if (entry.kind === 'admission') oracle.spend(entry.atMs, entry.tokens);
      else apply(oracle, entry.event, { lagMs: this.#lagMs, flying: 0 });
    }
    this.#worst = worse(this.#worst, { onAdmission: 0, partOfBound: 0, onGrant: oracle.worst });
    return oracle.worst > ONE
      ? [`a window granted ${oracle.worst.toFixed(3)} over capacity + rate × time on the store's clock`]
      : [];
  }
}

function apply(
  oracle: WindowOracle,
  event: StoreEvent,
  { lagMs, flying }: { lagMs: number; flying: number },
): void {
  if (event.kind === 'gift') oracle.allow(event.atMs, event.tokens, lagMs);
  else oracle.changeLimits(event.atMs, event.limits, event.leased + flying, lagMs);
}
