/** What a worker uses of its machine, for the report of each second. */
import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import type { WorkerReport } from '../contract/messages.ts';
import { LoopDelayMonitor } from '../infra/loop-delay.ts';

const US_PER_SEC = 1e6;

export type Usage = Pick<WorkerReport, 'loopDelayMaxMs' | 'busyRatio' | 'cpuSec' | 'residentBytes'>;

/** WorkerUsage is made once, by the worker's main. */
export class WorkerUsage {
  readonly #loopDelay = new LoopDelayMonitor();
  #before: EventLoopUtilization = performance.eventLoopUtilization();

  /**
   * take reads everything since the take before. The delay is a maximum, not a percentile of turns: a stall of 150 ms is one
   * turn in thousands, but one event in seven of that second waits for it.
   */
  take(): Usage {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#before);
    this.#before = now;
    const { user, system } = process.cpuUsage();
    return {
      loopDelayMaxMs: this.#loopDelay.takeMaxMs(),
      busyRatio: utilization,
      cpuSec: (user + system) / US_PER_SEC,
      residentBytes: process.memoryUsage.rss(),
    };
  }
}
