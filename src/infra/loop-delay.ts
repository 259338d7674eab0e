/**
 * How long events wait for the event loop. Node 26 measures every turn of the loop without waking it; Node 24 needs a timer,
 * which costs an idle process 50 wake-ups a second.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';

const NS_PER_MS = 1e6;

/** A release that does not know the option silently uses a timer: some of Node 24, none of the accepted ones of 26. */
const FIRST_MAJOR_WITH_TURNS = 26;

/** Period of the timer, which its samples include. */
const TIMER_MS = 20;

export type LoopDelays = ReturnType<LoopDelayMonitor['take']>;

/** LoopDelayMonitor measures the loop of the thread that makes it, from then on; one per process. */
export class LoopDelayMonitor {
  readonly #histogram: ReturnType<typeof monitorEventLoopDelay>;
  readonly #offsetMs: number;

  /** @param nodeMajor of `process.versions.node`; for tests */
  constructor(nodeMajor: number = Number.parseInt(process.versions.node, 10)) {
    const samplePerIteration = nodeMajor >= FIRST_MAJOR_WITH_TURNS;
    this.#offsetMs = samplePerIteration ? 0 : TIMER_MS;
    this.#histogram = monitorEventLoopDelay({ samplePerIteration, resolution: TIMER_MS });
    this.#histogram.enable();
  }

  /** takeMaxMs is the longest delay since the last take; 0 without a sample. Nearly free, unlike take. */
  takeMaxMs(): number {
    const maxMs = this.#delayMs(this.#histogram.max);
    this.#histogram.reset();
    return maxMs;
  }

  /** take reads what was measured since the last take, and begins anew; all 0 without a sample. It takes 0.3 ms. */
  take() {
    const histogram = this.#histogram;
    return {
      minMs: this.#delayMs(histogram.min),
      meanMs: this.#delayMs(histogram.mean),
      stddevMs: histogram.count === 0 ? 0 : histogram.stddev / NS_PER_MS,
      p50Ms: this.#delayMs(histogram.percentile(50)),
      p90Ms: this.#delayMs(histogram.percentile(90)),
      p99Ms: this.#delayMs(histogram.percentile(99)),
      // Last, because it resets the histogram.
      maxMs: this.takeMaxMs(),
    };
  }

  #delayMs(sampleNs: number): number {
    if (this.#histogram.count === 0) return 0;
    return Math.max(0, sampleNs / NS_PER_MS - this.#offsetMs);
  }
}
