/**
 * Judges a limiter by an ideal bucket that may go into debt. The deepest debt is the largest excess over `capacity + rate ×
 * length` of any window of any length, found in one pass.
 *
 * The guarantee allows extra tokens for faults. allow() adds them for windows that contain the fault, or begin so soon
 * after it that tokens from before may still be on their way.
 */

export interface Limits {
  capacity: number;
  /** Tokens per second. */
  ratePerSec: number;
}

interface Term {
  tokens: number;
  untilMs: number;
}

export class WindowOracle {
  #limits: Limits;
  #level: number;
  #atMs: number;
  #terms: Term[] = [];
  #worst = 0;

  /** @param level initial tokens; default: full */
  constructor(limits: Limits, atMs: number, level = limits.capacity) {
    this.#limits = limits;
    this.#level = level;
    this.#atMs = atMs;
  }

  /** Tokens left; negative: too many were spent. */
  get level(): number {
    return this.#level;
  }

  /** The deepest debt so far, ≥ 0. */
  get worst(): number {
    return this.#worst;
  }

  get limits(): Limits {
    return this.#limits;
  }

  /** spend takes admitted tokens and returns the debt after it, 0 for none. Calls must be in order of time. */
  spend(atMs: number, tokens: number): number {
    this.#flow(atMs);
    this.#level -= tokens;
    const debt = Math.max(0, -this.#level);
    this.#worst = Math.max(this.#worst, debt);
    return debt;
  }

  /** @param lagMs a window that begins up to this long after the fault may contain the tokens too */
  allow(atMs: number, tokens: number, lagMs: number): void {
    this.#flow(atMs);
    this.#level += tokens;
    this.#terms.push({ tokens, untilMs: atMs + lagMs });
    this.#terms.sort((a, b) => a.untilMs - b.untilMs);
  }

  /**
   * A smaller capacity cuts the level, a larger one adds nothing.
   *
   * @param out tokens granted before but not spent yet; the cut does not affect them
   */
  changeLimits(atMs: number, limits: Limits, out = 0, lagMs = 0): void {
    this.#flow(atMs);
    this.#limits = limits;
    const cut = Math.max(0, this.#level - this.#ceiling());
    this.#level -= cut;
    if (cut > 0 && out > 0) this.allow(atMs, Math.min(cut, out), lagMs);
  }

  /** lower sets the level to one known from elsewhere, if that is lower. */
  lower(atMs: number, level: number): void {
    this.#flow(atMs);
    this.#level = Math.min(this.#level, level);
  }

  #ceiling(): number {
    return this.#terms.reduce((sum, term) => sum + term.tokens, this.#limits.capacity);
  }

  #flow(toMs: number): void {
    for (;;) {
      const term = this.#terms[0];
      if (term === undefined || term.untilMs > toMs) break;
      this.#rise(term.untilMs);
      this.#terms.shift();
      this.#level = Math.min(this.#level, this.#ceiling());
    }
    this.#rise(toMs);
  }

  #rise(toMs: number): void {
    if (toMs <= this.#atMs) return;
    this.#level += ((toMs - this.#atMs) / 1000) * this.#limits.ratePerSec;
    this.#level = Math.min(this.#level, this.#ceiling());
    this.#atMs = toMs;
  }
}

/** idealAdmissions is the number of requests of one token that a bucket without delay would admit. */
export function idealAdmissions(limits: Limits, arrivalsMs: readonly number[]): number {
  const bucket = new WindowOracle(limits, arrivalsMs[0] ?? 0);
  let admitted = 0;
  for (const atMs of arrivalsMs) {
    bucket.spend(atMs, 0);
    if (bucket.level < 1) continue;
    bucket.spend(atMs, 1);
    admitted++;
  }
  return admitted;
}
