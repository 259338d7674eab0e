/** What each scrape sets: all gauges, those of the workers from their last reports, and the primary's own counters. */
import type { Validity } from '../../config/validity.ts';
import { systemClock } from '../../contract/clock.ts';
import { CONNECTION_PROTOCOLS } from '../../contract/connection-protocol.ts';
import type { DataPath } from '../../contract/data-path.ts';
import { BACKEND_STATES, backendKey } from '../../contract/health.ts';
import type { WorkerReport } from '../../contract/messages.ts';
import { liveSeries, type MetricName } from '../../contract/metrics.ts';
import { OVERLOAD_LEVELS } from '../../contract/overload.ts';
import { sluiceVersion } from '../../infra/build-info.ts';
import type { AcmeService } from '../acme/acme-service.ts';
import type { HealthRegistry } from '../health/health-registry.ts';
import type { Reloader } from '../reloader.ts';
import { poolValidities } from '../tls/pool-certificates.ts';
import type { TlsKeeper } from '../tls/tls-keeper.ts';
import type { Supervisor } from '../workers/supervisor.ts';
import type { MetricsCollector, SeriesValue } from './metrics-collector.ts';

export interface GaugeSources {
  collector: MetricsCollector;
  supervisor: Pick<Supervisor, 'counts' | 'restartCount' | 'workers'>;
  registry: Pick<HealthRegistry, 'states' | 'panics'>;
  reloader: Pick<Reloader, 'last' | 'current'>;
  dataPath: DataPath;
  directory: { feed: { degraded: boolean } };
  tls: Pick<TlsKeeper, 'validities' | 'fault'>;
  acme: Pick<AcmeService, 'dueCount'>;
  /** Lines of the primary's own log that were lost so far. */
  droppedLines: () => number;
}

const MS_PER_SEC = 1_000;
const WORKER_GAUGES: readonly [MetricName, (report: WorkerReport) => number][] = [
  ['sluice_event_loop_delay_seconds', (report) => report.loopDelayMaxMs / MS_PER_SEC],
  ['sluice_overload_level', (report) => OVERLOAD_LEVELS.indexOf(report.overload)],
  ['sluice_worker_busy_ratio', (report) => report.busyRatio],
  ['sluice_worker_cpu_seconds_total', (report) => report.cpuSec],
  ['sluice_worker_resident_memory_bytes', (report) => report.residentBytes],
  ['sluice_worker_heap_used_bytes', (report) => report.heapUsedBytes],
  ['sluice_worker_heap_limit_bytes', (report) => report.heapLimitBytes],
  ['sluice_worker_open_fds', (report) => report.openFiles],
  ['sluice_worker_max_fds', (report) => report.maxFiles],
  ['sluice_worker_requests_total', (report) => report.requestsTotal],
  ['sluice_worker_connections', (report) => report.connections],
];
/** Sums over all workers. */
const WORKER_SUMS: typeof WORKER_GAUGES = [
  ['sluice_requests_in_flight', (report) => report.inFlight],
  ['sluice_tunnels_open', (report) => report.tunnels],
  ['sluice_ratelimit_breaker_open', (report) => Number(report.breakerOpen)],
];

export class PrimaryGauges {
  readonly #sources: GaugeSources;
  #countedDropped = 0;

  constructor(sources: GaugeSources) {
    this.#sources = sources;
  }

  /** text is the answer to a scrape. @param openMetrics see MetricsCollector */
  text(openMetrics = false): Promise<string> {
    const { collector, reloader } = this.#sources;
    this.countLostLines();
    this.#setWorkers();
    this.#setBackends();
    this.#setConfiguration();
    this.#set('sluice_database_up', this.#sources.directory.feed.degraded ? 0 : 1);
    this.#setCertificates();
    // Requests that ended after a reload may have been counted under names of the old configuration.
    const { settings } = reloader.current;
    collector.keepOnly(liveSeries(settings));
    if (settings.tracing === null) collector.forgetExemplars();
    return collector.text(openMetrics);
  }

  /** countLostLines brings the counter of lost lines of the log up to date with those of the primary. */
  countLostLines(): void {
    const { collector, droppedLines } = this.#sources;
    const dropped = droppedLines();
    collector.count('sluice_application_log_dropped_lines_total', [], dropped - this.#countedDropped);
    this.#countedDropped = dropped;
  }

  /** countAdminRequest counts an answer of the admin port. */
  countAdminRequest(route: string, status: number): void {
    this.#sources.collector.count('sluice_admin_requests_total', [route, String(status)]);
  }

  #setConfiguration(): void {
    const { reloader, dataPath } = this.#sources;
    const { last, current } = reloader;
    const fastPath = dataPath.engine === 'node' ? 'node' : dataPath.wire;
    this.#set('sluice_config_last_reload_success', last.succeeded ? 1 : 0);
    this.#set('sluice_config_last_reload_timestamp_seconds', last.successAtMs / MS_PER_SEC);
    this.#set('sluice_config_last_reload_duration_seconds', last.tookMs / MS_PER_SEC);
    this.#set('sluice_config_revision_info', 1, [String(current.number)]);
    this.#set('sluice_build_info', 1, [sluiceVersion(), process.version, fastPath]);
  }

  #setCertificates(): void {
    const { collector, tls, acme, reloader } = this.#sources;
    const nowMs = systemClock.wallMs();
    const set = (kind: 'tls' | 'pool', validities: [string, Validity][]): void => {
      const put = (name: MetricName, ms: (validity: Validity) => number): void =>
        collector.replace(
          name,
          validities.map(([of, validity]): SeriesValue => [[of], ms(validity) / MS_PER_SEC]),
        );
      put(`sluice_${kind}_certificate_expiry_seconds`, ({ notAfterMs }) => notAfterMs - nowMs);
      put(
        `sluice_${kind}_certificate_lifetime_seconds`,
        ({ notBeforeMs, notAfterMs }) => notAfterMs - notBeforeMs,
      );
    };
    set('tls', tls.validities());
    set('pool', poolValidities(reloader.current.settings.pools));
    this.#set('sluice_tls_certificates_current', tls.fault === null ? 1 : 0);
    this.#set('sluice_acme_certificates_due', acme.dueCount);
  }

  #set(name: MetricName, value: number, labels: string[] = []): void {
    this.#sources.collector.replace(name, [[labels, value]]);
  }

  #setWorkers(): void {
    const { collector, supervisor } = this.#sources;
    const { starting, serving, draining } = supervisor.counts();
    collector.replace('sluice_workers', [
      [['starting'], starting],
      [['serving'], serving],
      [['draining'], draining],
    ]);
    this.#set('sluice_worker_restarts_total', supervisor.restartCount);
    const reports = supervisor
      .workers()
      .flatMap(({ index, wanted, report }) =>
        report === null ? [] : [{ label: String(index), wanted, report }],
      );
    // A worker that was replaced has the number of its replacement.
    const wanted = reports.filter((each) => each.wanted);
    for (const [name, read] of WORKER_GAUGES) {
      const series = wanted.map(({ label, report }): SeriesValue => [[label], read(report)]);
      collector.replace(name, series);
    }
    const collections = wanted.flatMap(({ label, report }) =>
      Object.entries(report.gcSec).map(([kind, seconds]): SeriesValue => [[label, kind], seconds]),
    );
    collector.replace('sluice_worker_gc_seconds_total', collections);
    collector.replace(
      'sluice_connections_open',
      CONNECTION_PROTOCOLS.map((protocol): SeriesValue => {
        const open = reports.map(({ report }) => report.connectionsByProtocol[protocol]);
        return [[protocol], open.reduce((sum, count) => sum + count, 0)];
      }),
    );
    for (const [name, read] of WORKER_SUMS) {
      const sum = reports.reduce((before, { report }) => before + read(report), 0);
      this.#set(name, sum);
    }
  }

  #setBackends(): void {
    const { collector, supervisor, registry } = this.#sources;
    const up: SeriesValue[] = [];
    const states: SeriesValue[] = [];
    const inFlight: SeriesValue[] = [];
    const probes: SeriesValue[] = [];
    const counts = backendsInFlight(supervisor);
    for (const { pool, backend, state, lastProbe } of registry.states()) {
      const labels = [pool, backend];
      up.push([labels, state === 'up' ? 1 : 0]);
      for (const each of BACKEND_STATES) states.push([[...labels, each], state === each ? 1 : 0]);
      inFlight.push([labels, counts.get(backendKey(pool, backend)) ?? 0]);
      if (lastProbe !== null) probes.push([labels, lastProbe.durationMs / MS_PER_SEC]);
    }
    collector.replace('sluice_backend_up', up);
    collector.replace('sluice_backend_state', states);
    collector.replace(
      'sluice_panic',
      registry.panics().map(({ pool, panic }): SeriesValue => [[pool], panic === 'no' ? 0 : 1]),
    );
    collector.replace('sluice_backend_in_flight', inFlight);
    collector.replace('sluice_probe_duration_seconds', probes);
  }
}

/** backendsInFlight sums what the workers last reported, by backendKey; for metrics and the pools call. */
export function backendsInFlight(supervisor: Pick<Supervisor, 'workers'>): Map<string, number> {
  const sums = new Map<string, number>();
  const reported = supervisor.workers().flatMap(({ report }) => report?.backendsInFlight ?? []);
  for (const { pool, backend, count } of reported) {
    const key = backendKey(pool, backend);
    sums.set(key, (sums.get(key) ?? 0) + count);
  }
  return sums;
}
