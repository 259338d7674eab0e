import { performance } from 'node:perf_hooks';
import type { WorkerReport } from '../contract/messages.ts';
import { LoopDelayMonitor } from '../infra/loop-delay.ts';

export type Usage = Pick<WorkerReport, 'loopDelayMaxMs' | 'busyRatio' | 'cpuSec' | 'residentBytes'>;

/** WorkerUsage is the worker's use of its event loop, CPU and memory; the worker's main reports it once a second. */
export class WorkerUsage {
  readonly #loopDelay = new LoopDelayMonitor();
  #before = performance.eventLoopUtilization();

  /**
   * take measures from the last take on. The delay is a maximum, not a percentile of turns: a stall of 150 ms is one turn in
   * thousands, but one event in seven of that second waits for it.
   */
  take(): Usage {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#before);
    this.#before = now;
    const { user, system } = process.cpuUsage();
    return {
      loopDelayMaxMs: this.#loopDelay.takeMaxMs(),
      busyRatio: utilization,
      cpuSec: (user + system) / 1e6,
      residentBytes: process.memoryUsage.rss(),
    };
  }
}
