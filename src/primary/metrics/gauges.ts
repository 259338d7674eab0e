/** Gauges that the primary knows itself, put into the registry when somebody asks for it. */
import type { DataPath } from '../../contract/data-path.ts';
import { sluiceVersion } from '../../infra/build-info.ts';
import type { HealthRegistry } from '../health/health-registry.ts';
import type { Reloader } from '../reloader.ts';
import type { Supervisor } from '../workers/supervisor.ts';
import type { MetricsCollector } from './metrics-collector.ts';

interface GaugeSources {
  collector: MetricsCollector;
  supervisor: Supervisor;
  registry: HealthRegistry;
  reloader: Reloader;
  dataPath: DataPath;
  /** Lines of the primary's own log that were lost so far. */
  droppedLines: () => number;
}

export class PrimaryGauges {
  readonly #sources: GaugeSources;
  #countedRestarts = 0;
  #countedDropped = 0;

  constructor(sources: GaugeSources) {
    this.#sources = sources;
  }

  /** text is the answer to a scrape. */
  text(): Promise<string> {
    this.#setFleet();
    this.#setBackends();
    const { collector, reloader, droppedLines } = this.#sources;
    const dropped = droppedLines();
    collector.count('sluice_application_log_dropped_lines_total', {}, dropped - this.#countedDropped);
    this.#countedDropped = dropped;
    collector.replaceGauge('sluice_config_last_reload_success', [
      { labels: {}, value: reloader.lastReloadSucceeded ? 1 : 0 },
    ]);
    collector.replaceGauge('sluice_config_revision_info', [
      { labels: { revision: String(reloader.current.number) }, value: 1 },
    ]);
    collector.replaceGauge('sluice_build_info', [
      {
        labels: {
          version: sluiceVersion(),
          node: process.version,
          fast_path: fastPathOf(this.#sources.dataPath),
        },
        value: 1,
      },
    ]);
    return collector.text();
  }

  /** countAdminRequest counts an answer of the admin port. */
  countAdminRequest(route: string, status: number): void {
    this.#sources.collector.count('sluice_admin_requests_total', { route, code: String(status) }, 1);
  }

  #setFleet(): void {
    const { collector, supervisor } = this.#sources;
    const counts = supervisor.counts();
    collector.replaceGauge(
      'sluice_workers',
      (['starting', 'serving', 'draining'] as const).map((state) => ({
        labels: { state },
        value: counts[state],
      })),
    );
    collector.replaceGauge(
      'sluice_event_loop_delay_seconds',
      supervisor
        .workers()
        .flatMap(({ index, report }) =>
          report === null ? [] : [{ labels: { worker: String(index) }, value: report.loopDelayP99Ms / 1000 }],
        ),
    );
    collector.count('sluice_worker_restarts_total', {}, supervisor.restartCount - this.#countedRestarts);
    this.#countedRestarts = supervisor.restartCount;
  }

  #setBackends(): void {
    const { collector, supervisor, registry } = this.#sources;
    const states = registry.states();
    collector.replaceGauge(
      'sluice_backend_up',
      states.map(({ pool, backend, health, enabled }) => ({
        labels: { pool, backend },
        value: health === 'up' && enabled ? 1 : 0,
      })),
    );
    collector.replaceGauge(
      'sluice_backend_in_flight',
      states.map(({ pool, backend }) => ({
        labels: { pool, backend },
        value: backendInFlight(supervisor, pool, backend),
      })),
    );
  }
}

/** backendInFlight sums what the workers last reported; for metrics and the pools call. */
export function backendInFlight(supervisor: Supervisor, pool: string, backend: string): number {
  let sum = 0;
  for (const { report } of supervisor.workers()) {
    for (const entry of report?.backendsInFlight ?? []) {
      if (entry.pool === pool && entry.backend === backend) sum += entry.count;
    }
  }
  return sum;
}

/** What is slowest about a data path. */
function fastPathOf({ engine, wire }: DataPath): string {
  return engine === 'node' ? 'node' : wire;
}
