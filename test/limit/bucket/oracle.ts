/**
 * The judge of a limiter: an ideal bucket that may go into debt. The deepest debt is by how much any window of any
 * length held more than `capacity + rate × length`, over all windows at once and in one pass.
 *
 * Faults have a price that the guarantee names. allow() adds it: windows that hold the moment of the fault, or begin so
 * shortly after it that tokens from before it may still be on their way, may hold that many tokens more.
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

  /** @param level tokens to begin with, else the bucket is full */
  constructor(limits: Limits, atMs: number, level = limits.capacity) {
    this.#limits = limits;
    this.#level = level;
    this.#atMs = atMs;
  }

  /** Tokens left; below zero: too many were spent. */
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

  /** spend takes what was admitted; calls come in order of time. Returns the debt after it, 0 if there is none. */
  spend(atMs: number, tokens: number): number {
    this.#flow(atMs);
    this.#level -= tokens;
    const debt = Math.max(0, -this.#level);
    this.#worst = Math.max(this.#worst, debt);
    return debt;
  }

  /** @param lagMs for how long a window that begins after this moment may hold the tokens all the same */
  allow(atMs: number, tokens: number, lagMs: number): void {
    this.#flow(atMs);
    this.#level += tokens;
    this.#terms.push({ tokens, untilMs: atMs + lagMs });
    this.#terms.sort((a, b) => a.untilMs - b.untilMs);
  }

  /**
   * A smaller bucket cuts the level, a larger one is no gift.
   *
   * @param out tokens that had been handed out before but not been spent: these the cut does not reach
   */
  changeLimits(atMs: number, limits: Limits, out = 0, lagMs = 0): void {
    this.#flow(atMs);
    this.#limits = limits;
    const cut = Math.max(0, this.#level - this.#ceiling());
    this.#level -= cut;
    if (cut > 0 && out > 0) this.allow(atMs, Math.min(cut, out), lagMs);
  }

  /** lower is for what is known of the bucket from elsewhere. */
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

/** idealAdmissions is how many requests of one token each a bucket without any delay or doubt would let pass. */
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
