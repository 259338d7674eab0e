/** What makes each alert of config/prometheus/alerts.yml fire, and what does not. */

/** Values of series in promtool's notation, one per minute, without the labels that all have. */
type SeriesOfCase = Record<string, string>;

export interface AlertCase {
  fires: SeriesOfCase;
  quiet: SeriesOfCase;
  /** Minutes after the first value until it fires, and when its labels and its summary are looked at. */
  from: number;
  at: number;
  /** It is about all instances: it has no other case beside it. */
  isAlone?: true;
  /** Labels besides `severity`, `job` and `instance`. */
  labels?: Record<string, string | undefined>;
  /** Where it says INSTANCE, the alert has the instance. */
  summary: string;
}

const REQUESTS = (code: string) => `sluice_requests_total{route="api",method="GET",code="${code}"}`;
const FAILURES = (reason: string) => `sluice_request_failures_total{route="api",reason="${reason}"}`;
const ATTEMPTS = (code: string) => `sluice_upstream_requests_total{pool="app",backend="b1",code="${code}"}`;
const DURATIONS = (le: string) => `sluice_request_duration_seconds_bucket{route="api",le="${le}"}`;
const DECISIONS = (result: string) =>
  `sluice_ratelimit_decisions_total{policy="default",result="${result}",source="store"}`;
const backend = { pool: 'app', backend: 'b1' };
const BACKEND = 'pool="app",backend="b1"';
const worker = { worker: '0' };
const DAY_SEC = 86_400;

/** A gauge that has one value, or another, for twenty minutes. */
function gauge(name: string, bad: number, good: number): Pick<AlertCase, 'fires' | 'quiet' | 'at'> {
  return { fires: { [name]: `${bad}x20` }, quiet: { [name]: `${good}x20` }, at: 15 };
}

/** Counters that all grow once, by this number between two scrapes; or have grown before. */
function burst(count: number, ...names: string[]): Pick<AlertCase, 'from' | 'fires' | 'quiet' | 'at'> {
  const each = (values: string) => Object.fromEntries(names.map((name) => [name, values]));
  return { from: 3, fires: each(`0 0 0 ${count}x17`), quiet: each(`${count}x20`), at: 17 };
}

/** Of one request per second and nine others, or of a hundredth of them. */
function tenth(failed: string, others: string): Pick<AlertCase, 'fires' | 'quiet' | 'at'> {
  const rest = { [others]: '0+540x20' };
  return { fires: { [failed]: '0+60x20', ...rest }, quiet: { [failed]: '0+6x20', ...rest }, at: 15 };
}

export const ALERT_CASES: Record<string, AlertCase> = {
  SluiceDown: { from: 1, ...gauge('up', 0, 1), summary: 'INSTANCE cannot be scraped' },
  SluiceNotScraped: {
    from: 5,
    ...{ fires: { up: '_x21' }, quiet: { up: '1x20' }, at: 15, isAlone: true },
    labels: { instance: undefined },
    summary: 'Prometheus has no target of the job sluice',
  },
  SluiceNoWorker: {
    from: 1,
    ...gauge('sluice_workers{state="serving"}', 0, 2),
    labels: { state: 'serving' },
    summary: 'No worker of INSTANCE serves',
  },
  SluiceErrors: {
    from: 6,
    fires: { [REQUESTS('200')]: '0+600x20', [FAILURES('upstream_reset')]: '0+60x20' },
    // Whoever scans may ask for what nobody can serve as often as it likes.
    quiet: { [REQUESTS('501')]: '0+600x20', [FAILURES('upstream_reset')]: '0+6x20' },
    at: 15,
    labels: { route: 'api' },
    summary: '10% of the requests of route api fail at INSTANCE',
  },
  SluiceSlow: {
    from: 11,
    fires: {
      ...{ [REQUESTS('200')]: '0+600x30', [DURATIONS('1')]: '0x30' },
      ...{ [DURATIONS('2.5')]: '0+600x30', [DURATIONS('+Inf')]: '0+600x30' },
    },
    quiet: {
      ...{ [REQUESTS('200')]: '0+600x30', [DURATIONS('1')]: '0+600x30' },
      ...{ [DURATIONS('2.5')]: '0+600x30', [DURATIONS('+Inf')]: '0+600x30' },
    },
    at: 25,
    labels: { route: 'api' },
    summary: 'One request in a hundred of route api takes longer than 2.485s at INSTANCE',
  },
  SluicePoolDown: {
    from: 1,
    fires: states('app', { b1: 'ejected', b2: 'draining' }),
    quiet: {
      ...states('app', { b1: 'ejected', b2: 'up' }),
      ...states('drained', { b1: 'draining', b2: 'draining' }),
    },
    at: 15,
    labels: { pool: 'app' },
    summary: 'No backend of pool app takes requests from INSTANCE',
  },
  SluicePanic: {
    from: 1,
    ...gauge('sluice_panic{pool="app"}', 1, 0),
    labels: { pool: 'app' },
    summary: 'Pool app has so few healthy backends that INSTANCE uses those that are down too',
  },
  SluiceBackendDown: {
    from: 2,
    fires: {
      [`sluice_backend_state{${BACKEND},state="unknown"}`]: '1 0x19',
      [`sluice_backend_state{${BACKEND},state="down"}`]: '0 1x19',
    },
    quiet: {
      [`sluice_backend_state{${BACKEND},state="unknown"}`]: '0x20',
      [`sluice_backend_state{${BACKEND},state="down"}`]: '0x20',
    },
    at: 15,
    labels: backend,
    summary: 'Backend b1 of pool app gets no requests from INSTANCE: it is down, or was never reached',
  },
  SluiceBackendEjected: {
    from: 3,
    fires: { [`sluice_ejections_total{${BACKEND}}`]: '0 1 2 3 4 4x20' },
    quiet: { [`sluice_ejections_total{${BACKEND}}`]: '0 1 1x20' },
    at: 14,
    labels: backend,
    summary: 'Backend b1 of pool app is ejected again and again by INSTANCE',
  },
  SluiceBackendErrors: {
    from: 6,
    ...tenth(ATTEMPTS('000'), ATTEMPTS('200')),
    labels: backend,
    summary: '10% of the requests at backend b1 of pool app fail for INSTANCE',
  },
  SluiceRetries: {
    from: 11,
    fires: { 'sluice_retries_total{pool="app",reason="connect"}': '0+120x30', [ATTEMPTS('200')]: '0+600x30' },
    quiet: { 'sluice_retries_total{pool="app",reason="connect"}': '0+6x30', [ATTEMPTS('200')]: '0+600x30' },
    at: 25,
    labels: { pool: 'app' },
    summary: 'More than a tenth of the requests at pool app are retries of INSTANCE',
  },
  SluiceStoreAway: {
    from: 1,
    ...gauge('sluice_ratelimit_breaker_open', 2, 0),
    summary: '2 workers of INSTANCE decide about limits alone: the bucket store does not answer',
  },
  SluiceStoreFailing: {
    from: 6,
    fires: { 'sluice_ratelimit_store_calls_total{result="timeout"}': '0+60x20' },
    quiet: { 'sluice_ratelimit_store_calls_total{result="ok"}': '0+60x20' },
    at: 15,
    summary: '1 calls of the bucket store fail per second at INSTANCE',
  },
  SluiceDatabaseAway: {
    from: 2,
    ...gauge('sluice_database_up', 0, 1),
    summary: 'INSTANCE cannot read clients and API keys: the database is away',
  },
  SluiceAuditLost: {
    ...burst(30, 'sluice_audit_dropped_rows_total{kind="reload"}'),
    labels: { kind: 'reload' },
    summary: 'INSTANCE has lost 30 rows of the audit (reload)',
  },
  SluiceLimiting: {
    from: 18,
    fires: { [DECISIONS('limited')]: '0+1200x40', [DECISIONS('allowed')]: '0+1200x40' },
    quiet: { [DECISIONS('limited')]: '0+1200x40', [DECISIONS('allowed')]: '0+12000x40' },
    at: 35,
    labels: { policy: 'default' },
    summary: 'Policy default refuses 20 requests per second at INSTANCE',
  },
  SluiceShedding: {
    from: 3,
    fires: { 'sluice_shed_total{reason="queue"}': '0+60x20' },
    quiet: { 'sluice_shed_total{reason="queue"}': '7x20' },
    at: 15,
    labels: { reason: 'queue' },
    summary: 'INSTANCE turns 1 connections or requests per second away: queue',
  },
  SluiceOverloaded: {
    from: 1,
    ...gauge('sluice_overload_level{worker="0"}', 2, 0),
    labels: worker,
    summary: 'Worker 0 of INSTANCE is overloaded (level 2)',
  },
  SluiceWorkerBusy: {
    from: 10,
    ...gauge('sluice_worker_busy_ratio{worker="0"}', 0.95, 0.8),
    labels: worker,
    summary: 'Worker 0 of INSTANCE is busy for 95% of the time',
  },
  SluiceLoopDelay: {
    from: 5,
    ...gauge('sluice_event_loop_delay_seconds{worker="0"}', 0.2, 0.05),
    labels: worker,
    summary: 'The event loop of worker 0 of INSTANCE stands still for 200ms or longer again and again',
  },
  SluiceWorkerRestarts: {
    from: 3,
    fires: { sluice_worker_restarts_total: '0 1 2 3 4 4x20' },
    quiet: { sluice_worker_restarts_total: '0 1 1x20' },
    at: 8,
    summary: 'Workers of INSTANCE die again and again',
  },
  SluiceHeap: {
    from: 5,
    fires: gaugePair('sluice_worker_heap_used_bytes', 900, 'sluice_worker_heap_limit_bytes'),
    quiet: gaugePair('sluice_worker_heap_used_bytes', 500, 'sluice_worker_heap_limit_bytes'),
    at: 15,
    labels: worker,
    summary: 'Worker 0 of INSTANCE uses 90% of its heap',
  },
  SluiceDescriptors: {
    from: 5,
    fires: gaugePair('sluice_worker_open_fds', 900, 'sluice_worker_max_fds'),
    quiet: gaugePair('sluice_worker_open_fds', 500, 'sluice_worker_max_fds'),
    at: 15,
    labels: worker,
    summary: 'Worker 0 of INSTANCE has 90% of its file descriptors open',
  },
  SluiceReloadRefused: {
    from: 1,
    ...gauge('sluice_config_last_reload_success', 0, 1),
    summary: 'INSTANCE has refused its last reload and runs the configuration of before',
  },
  SluiceCertificateEnds: {
    from: 10,
    ...certificate('tls', 'name="example.com"'),
    labels: { name: 'example.com' },
    summary: 'The certificate of example.com at INSTANCE ends in 1d 0h 0m 0s',
  },
  SluicePoolCertificateEnds: {
    from: 10,
    ...certificate('pool', 'pool="app"'),
    labels: { pool: 'app' },
    summary: 'The certificate that INSTANCE shows to pool app ends in 1d 0h 0m 0s',
  },
  SluiceCertificatesNotCurrent: {
    from: 5,
    ...gauge('sluice_tls_certificates_current', 0, 1),
    summary: 'INSTANCE cannot use the certificate files as they are now',
  },
  SluiceAcmeDue: {
    from: 360,
    fires: { sluice_acme_certificates_due: '1x400' },
    quiet: { sluice_acme_certificates_due: '0x400' },
    at: 370,
    summary: '1 certificates of INSTANCE are due and are not renewed',
  },
  SluiceLinesLost: {
    ...burst(100_000, 'sluice_access_log_dropped_lines_total', 'sluice_application_log_dropped_lines_total'),
    summary: 'INSTANCE has lost 200k lines of its logs',
  },
  SluiceSpansLost: {
    ...burst(30, 'sluice_trace_spans_total{result="dropped"}'),
    labels: { result: 'dropped' },
    summary: 'INSTANCE has lost 30 spans of traces',
  },
};

/** A certificate of a year that ends tomorrow; one of a year, and one of six days that is renewed in two days, are well. */
function certificate(kind: 'tls' | 'pool', label: string): Pick<AlertCase, 'fires' | 'quiet' | 'at'> {
  const series = (more: string, leftDays: number, lifeDays: number): SeriesOfCase => ({
    [`sluice_${kind}_certificate_expiry_seconds{${label}${more}}`]: `${leftDays * DAY_SEC}x20`,
    [`sluice_${kind}_certificate_lifetime_seconds{${label}${more}}`]: `${lifeDays * DAY_SEC}x20`,
  });
  const short = ',short="yes"';
  return { fires: series('', 1, 365), quiet: { ...series('', 20, 365), ...series(short, 4, 6) }, at: 15 };
}

/** Both metrics of backends in these states, for twenty minutes. */
function states(pool: string, of: Record<string, 'up' | 'ejected' | 'draining'>): SeriesOfCase {
  const all = Object.entries(of).flatMap(([id, now]): [string, string][] => {
    const labels = `pool="${pool}",backend="${id}"`;
    const each = ['up', 'ejected', 'draining'].map((state): [string, string] => [
      `sluice_backend_state{${labels},state="${state}"}`,
      state === now ? '1x20' : '0x20',
    ]);
    return [[`sluice_backend_up{${labels}}`, now === 'up' ? '1x20' : '0x20'], ...each];
  });
  return Object.fromEntries(all);
}

function gaugePair(name: string, value: number, limit: string): SeriesOfCase {
  return { [`${name}{worker="0"}`]: `${value}x20`, [`${limit}{worker="0"}`]: '1000x20' };
}
