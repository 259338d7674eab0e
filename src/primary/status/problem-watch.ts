/** Looks once a second for what is wrong. What costs more than a look, it asks less often. */
import { expiresSoon, validityText } from '../../config/validity.ts';
import type { Clock } from '../../contract/clock.ts';
import type { EventEntry } from '../../contract/events.ts';
import type { Live, Problem } from '../../contract/status.ts';
import type { AcmeService } from '../acme/acme-service.ts';
import type { EventLog } from '../events/event-log.ts';
import type { HealthRegistry } from '../health/health-registry.ts';
import type { MetricsCollector } from '../metrics/metrics-collector.ts';
import type { Reloader } from '../reloader.ts';
import { poolValidities } from '../tls/pool-certificates.ts';
import type { TlsKeeper } from '../tls/tls-keeper.ts';
import { type DegradedSources, degradedOf, workersWithoutStore } from './degraded.ts';
import { findingsOf, LOST_LINES_MS, type ProblemFacts, ProblemTimes, RESTARTS_MS } from './problems.ts';
import type { Traffic } from './traffic.ts';

export interface ProblemWatchSources extends DegradedSources {
  collector: Pick<MetricsCollector, 'seriesOf'>;
  directory: { feed: { degraded: boolean; loaded: boolean; failure: Error | null } };
  registry: Pick<HealthRegistry, 'state' | 'panics'>;
  reloader: Pick<Reloader, 'current' | 'last'>;
  tls: Pick<TlsKeeper, 'validities' | 'fault'>;
  acme: Pick<AcmeService, 'missing'>;
  events: Pick<EventLog, 'entries' | 'onEvent'>;
  /** See WorkerBriefing. */
  storeWorkers: () => number | null;
  /** Brings the counter of the primary's own lost log lines up to date. */
  countLostLines: () => void;
  phase: () => Live['phase'];
}

/** To look at all certificates takes a millisecond. */
const CERTIFICATES_MS = 60_000;
const LOST_LINES = [
  'sluice_application_log_dropped_lines_total',
  'sluice_access_log_dropped_lines_total',
] as const;

/** ProblemWatch is made by the StatusBoard. */
export class ProblemWatch {
  readonly #sources: ProblemWatchSources;
  readonly #traffic: Pick<Traffic, 'queueRefusedPerSec'>;
  readonly #clock: Clock;
  readonly #times = new ProblemTimes();
  #certificates: ProblemFacts['certificates'] = [];
  /** Monotonic. */
  #certificatesDueMs = 0;
  /** Lines that were lost so far; and those of the last minute, by when that was noticed (monotonic). */
  #lostLines = 0;
  #lostLately: { atMs: number; count: number }[] = [];
  /** Of workers that were started again, in the last RESTARTS_MS (monotonic): a back-off of seconds bounds them. */
  #deaths: { worker: string; atMs: number }[] = [];
  /** close ends it. */
  readonly close: () => void;

  constructor(sources: ProblemWatchSources, traffic: Pick<Traffic, 'queueRefusedPerSec'>, clock: Clock) {
    this.#sources = sources;
    this.#traffic = traffic;
    this.#clock = clock;
    for (const entry of sources.events.entries) this.#noteDeath(entry);
    this.close = sources.events.onEvent((entry) => {
      if (entry.kind === 'certificate' || entry.kind === 'reload') this.#certificatesDueMs = 0;
      this.#noteDeath(entry);
    });
  }

  /** problems are those of now, errors first; called once a second. @param workers all slots */
  problems(workers: ProblemFacts['workers']): Problem[] {
    return this.#times.problemsOf(findingsOf(this.#facts(workers)), this.#clock.wallMs());
  }

  #facts(workers: ProblemFacts['workers']): ProblemFacts {
    const { reloader, registry, directory, store, tls, acme, storeWorkers, phase } = this.#sources;
    const { current, last } = reloader;
    const { failure, loaded } = directory.feed;
    return {
      settings: current.settings,
      stateOf: (pool, id) => registry.state(pool, id),
      panics: registry.panics(),
      queueRefusedPerSec: (pool) => this.#traffic.queueRefusedPerSec(pool),
      degraded: degradedOf(this.#sources),
      storeFailure: store.connection?.failure ?? null,
      withoutStore: workersWithoutStore(this.#sources),
      storeWorkers: storeWorkers(),
      databaseFailure: failure?.message ?? null,
      clientsLoaded: loaded,
      refusedReload: last.succeeded ? null : { revision: current.number, problems: last.problems },
      workers,
      restarts: this.#restarts(),
      certificates: this.#endingCertificates(),
      certificateFault: tls.fault,
      namesWithout: acme.missing,
      lostLines: this.#takeLostLines(),
      phase: phase(),
    };
  }

  /** Those before the first look were a moment ago. */
  #noteDeath({ kind, severity, subject, data }: EventEntry): void {
    if (kind !== 'worker' || severity !== 'error' || subject === null || data.restartInMs === undefined)
      return;
    this.#deaths.push({ worker: subject, atMs: this.#clock.monotonicMs() });
  }

  /** How often each worker has died lately and was started again. */
  #restarts(): Map<string, number> {
    const fromMs = this.#clock.monotonicMs() - RESTARTS_MS;
    this.#deaths = this.#deaths.filter(({ atMs }) => atMs >= fromMs);
    const counts = new Map<string, number>();
    for (const { worker } of this.#deaths) counts.set(worker, (counts.get(worker) ?? 0) + 1);
    return counts;
  }

  #endingCertificates(): ProblemFacts['certificates'] {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#certificatesDueMs) return this.#certificates;
    this.#certificatesDueMs = nowMs + CERTIFICATES_MS;
    const { tls, reloader } = this.#sources;
    const wallMs = this.#clock.wallMs();
    const ofPools = poolValidities(reloader.current.settings.pools);
    const all = [
      ...tls.validities().map(([name, validity]) => ({ which: `the certificate of ${name}`, validity })),
      ...ofPools.map(([pool, validity]) => ({ which: `the certificate of pools.${pool}.tls`, validity })),
    ];
    this.#certificates = all
      .filter(({ validity }) => expiresSoon(validity, wallMs))
      .map(({ which, validity }) => ({
        text: validityText(validity, wallMs, which) ?? which,
        isOver: validity.notAfterMs <= wallMs,
      }));
    return this.#certificates;
  }

  /** Lines that were lost in the last minute. */
  #takeLostLines(): number {
    const nowMs = this.#clock.monotonicMs();
    const { collector, countLostLines } = this.#sources;
    countLostLines();
    const total = LOST_LINES.flatMap((name) => [...collector.seriesOf(name)]).reduce(
      (sum, { cells }) => sum + (cells[0] ?? 0),
      0,
    );
    if (total > this.#lostLines) this.#lostLately.push({ atMs: nowMs, count: total - this.#lostLines });
    this.#lostLines = total;
    this.#lostLately = this.#lostLately.filter(({ atMs }) => nowMs - atMs < LOST_LINES_MS);
    return this.#lostLately.reduce((sum, { count }) => sum + count, 0);
  }
}
