/** What the primary knows itself, put into the collector when somebody asks for the metrics. */
import type { DataPath } from '../../contract/data-path.ts';
import type { WorkerReport } from '../../contract/messages.ts';
import { liveSeries, type MetricName } from '../../contract/metrics.ts';
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

const MS_PER_SEC = 1_000;

export class PrimaryGauges {
  readonly #sources: GaugeSources;
  #countedDropped = 0;

  constructor(sources: GaugeSources) {
    this.#sources = sources;
  }

  /** text is the answer to a scrape. */
  text(): Promise<string> {
    const { collector, reloader, droppedLines } = this.#sources;
    const dropped = droppedLines();
    collector.count('sluice_application_log_dropped_lines_total', [], dropped - this.#countedDropped);
    this.#countedDropped = dropped;
    this.#setWorkers();
    this.#setBackends();
    this.#setConfiguration();
    // Requests of an older configuration may have been counted since the reload.
    collector.keepOnly(liveSeries(reloader.current.settings));
    return collector.text();
  }

  /** countAdminRequest counts an answer of the admin port. */
  countAdminRequest(route: string, status: number): void {
    this.#sources.collector.count('sluice_admin_requests_total', [route, String(status)]);
  }

  #setConfiguration(): void {
    const { collector, reloader, dataPath } = this.#sources;
    const { lastReloadSucceeded, lastSuccessAtMs, lastReloadMs, current } = reloader;
    const set = (name: MetricName, value: number, labels: string[] = []): void =>
      collector.replace(name, [{ labels, value }]);
    set('sluice_config_last_reload_success', lastReloadSucceeded ? 1 : 0);
    set('sluice_config_last_reload_timestamp_seconds', lastSuccessAtMs / MS_PER_SEC);
    set('sluice_config_last_reload_duration_seconds', lastReloadMs / MS_PER_SEC);
    set('sluice_config_revision_info', 1, [String(current.number)]);
    set('sluice_build_info', 1, [sluiceVersion(), process.version, fastPathOf(dataPath)]);
  }

  #setWorkers(): void {
    const { collector, supervisor } = this.#sources;
    const counts = supervisor.counts();
    collector.replace(
      'sluice_workers',
      (['starting', 'serving', 'draining'] as const).map((state) => ({
        labels: [state],
        value: counts[state],
      })),
    );
    collector.replace('sluice_worker_restarts_total', [{ labels: [], value: supervisor.restartCount }]);
    const reports = supervisor
      .workers()
      .flatMap(({ index, report }) => (report === null ? [] : [{ labels: [String(index)], report }]));
    for (const [name, read] of [
      ['sluice_event_loop_delay_seconds', (report) => report.loopDelayMaxMs / MS_PER_SEC],
      ['sluice_worker_busy_ratio', (report) => report.busyRatio],
      ['sluice_worker_cpu_seconds_total', (report) => report.cpuSec],
      ['sluice_worker_resident_memory_bytes', (report) => report.residentBytes],
      ['sluice_worker_requests_total', (report) => report.requestsTotal],
      ['sluice_worker_connections', (report) => report.connections],
    ] satisfies [MetricName, (report: WorkerReport) => number][]) {
      collector.replace(
        name,
        reports.map(({ labels, report }) => ({ labels, value: read(report) })),
      );
    }
  }

  #setBackends(): void {
    const { collector, supervisor, registry } = this.#sources;
    const states = registry.states().map((state) => ({ ...state, labels: [state.pool, state.backend] }));
    collector.replace(
      'sluice_backend_up',
      states.map(({ labels, health, enabled }) => ({ labels, value: health === 'up' && enabled ? 1 : 0 })),
    );
    collector.replace(
      'sluice_backend_in_flight',
      states.map(({ labels, pool, backend }) => ({
        labels,
        value: backendInFlight(supervisor, pool, backend),
      })),
    );
    collector.replace(
      'sluice_probe_duration_seconds',
      states.flatMap(({ labels, lastProbe }) =>
        lastProbe === null ? [] : [{ labels, value: lastProbe.durationMs / MS_PER_SEC }],
      ),
    );
  }
}

/** backendInFlight sums what the workers last reported; for metrics and the pools call. */
export function backendInFlight(
  supervisor: Pick<Supervisor, 'workers'>,
  pool: string,
  backend: string,
): number {
  let sum = 0;
  for (const { report } of supervisor.workers()) {
    for (const entry of report?.backendsInFlight ?? []) {
      if (entry.pool === pool && entry.backend === backend) sum += entry.count;
    }
  }
  return sum;
}

/** The slowest part of a data path. */
function fastPathOf({ engine, wire }: DataPath): string {
  return engine === 'node' ? 'node' : wire;
}
