/** What a worker tells the primary of itself, once a second and at its end: its counters, its traffic, and what the process uses. */
import { performance } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import { toError } from '../contract/errors.ts';
import { OpenFileCounter, openFileLimit } from '../infra/file-descriptors.ts';
import type { LineWriter } from '../infra/logging/line-writer.ts';
import type { ProcessLog } from '../infra/logging/process-log.ts';
import type { WorkerMetrics } from '../infra/worker-metrics.ts';
import type { DataPlane } from './data-plane.ts';
import { GarbageWatch } from './garbage-watch.ts';
import type { PrimaryLink } from './primary-link.ts';

interface ReporterOptions {
  /** null: there is nothing to report yet. */
  dataPlane: () => DataPlane | null;
  metrics: WorkerMetrics;
  log: ProcessLog;
  accessLines: LineWriter;
  link: PrimaryLink;
}

/** Reporter is made once by the worker's main. */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #garbage = new GarbageWatch();
  readonly #files = new OpenFileCounter();
  readonly #maxFiles = openFileLimit();
  #openFiles = 0;
  #residentBytes = 0;
  #utilization = performance.eventLoopUtilization();
  #unsent = false;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** report is called once a second. Skipped while the last report has not left the process: the next one has the counts of both. */
  report(): void {
    if (!this.#unsent) this.send();
  }

  /** send sends the last report, whatever has become of the one before. */
  send(): void {
    const { metrics, log, accessLines, link } = this.#options;
    const dataPlane = this.#options.dataPlane();
    if (dataPlane === null) return;
    this.#unsent = true;
    metrics.set(metrics.series('sluice_application_log_dropped_lines_total'), log.application.droppedCount);
    metrics.set(metrics.series('sluice_access_log_dropped_lines_total'), accessLines.droppedCount);
    const report = { ...dataPlane.report(), ...this.#takeUsage(), metrics: metrics.takeDelta() };
    link.send({ type: 'report', report }, () => {
      this.#unsent = false;
    });
  }

  /** What the process used since the last report. */
  #takeUsage() {
    const before = this.#utilization;
    this.#utilization = performance.eventLoopUtilization();
    const { user, system } = process.cpuUsage();
    const { used_heap_size: heapUsedBytes, heap_size_limit: heapLimitBytes } = getHeapStatistics();
    this.#countFiles();
    return {
      ...{ heapUsedBytes, heapLimitBytes, gcSec: { ...this.#garbage.seconds } },
      ...{ openFiles: this.#openFiles, maxFiles: this.#maxFiles },
      busyRatio: performance.eventLoopUtilization(this.#utilization, before).utilization,
      cpuSec: (user + system) / 1e6,
      residentBytes: this.#readResidentBytes(),
    };
  }

  /** For the next report. Without a free descriptor an older kernel cannot tell: the last value stays. */
  #countFiles(): void {
    this.#files.count().then(
      (count) => {
        this.#openFiles = count;
      },
      (thrown) => this.#options.log.logger.debug({ err: toError(thrown) }, 'descriptors cannot be counted'),
    );
  }

  /** Without a free descriptor it cannot be read: the last value stays. */
  #readResidentBytes(): number {
    try {
      this.#residentBytes = process.memoryUsage.rss();
    } catch (thrown) {
      this.#options.log.logger.debug({ err: toError(thrown) }, 'the resident memory cannot be read');
    }
    return this.#residentBytes;
  }
}
