/**
 * New limits of a policy, brought to the buckets that this worker remembers although nobody asks them now: a bucket refills by
 * the limits that it knows, and learns newer ones with a take. A few at a time, so that a reload keeps neither the store nor
 * this process busy.
 */
import type { BreakerTimers } from '../store/breaker.ts';
import type { KeyState } from './known-bucket.ts';

/** Buckets told at once: a sixth of a millisecond of Redis. */
const AT_ONCE = 64;
const PAUSE_MS = 5;

interface LimitsSpreadOptions {
  timers: BreakerTimers;
  /** Makes a take for the bucket, with whatever else it has to ask. */
  tell: (state: KeyState) => void;
}

/** LimitsSpread is kept by a Limiter, which calls add with every change of a policy. */
export class LimitsSpread {
  readonly #options: LimitsSpreadOptions;
  /** By policy: a further change begins anew. */
  readonly #sources = new Map<string, Iterator<KeyState>>();
  #stop: (() => void) | null = null;

  constructor(options: LimitsSpreadOptions) {
    this.#options = options;
  }

  /** add tells buckets of a policy of their limits, as these are when each one's turn comes. */
  add(policyName: string, states: Iterable<KeyState>): void {
    this.#sources.set(policyName, states[Symbol.iterator]());
    this.#stop ??= this.#options.timers.after(PAUSE_MS, () => this.#tick());
  }

  close(): void {
    this.#stop?.();
    this.#stop = null;
    this.#sources.clear();
  }

  #tick(): void {
    this.#stop = null;
    let left = AT_ONCE;
    for (const [policyName, states] of this.#sources) {
      for (; left > 0; left--) {
        const next = states.next();
        if (next.done === true) {
          this.#sources.delete(policyName);
          break;
        }
        this.#options.tell(next.value);
      }
    }
    if (this.#sources.size > 0) this.#stop = this.#options.timers.after(PAUSE_MS, () => this.#tick());
  }
}
