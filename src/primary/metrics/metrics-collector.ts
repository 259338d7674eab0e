/**
 * The totals of all workers, past and present, in one prom-client registry. Workers send growth once a second; the
 * primary adds it up here, so a scrape is answered from memory and at most one second old, and a counter never falls
 * when a worker is replaced. Gauges are kept per worker and summed, and go with the worker.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import {
  definitionOf,
  isMetricName,
  METRICS,
  type MetricName,
  type MetricsDelta,
} from '../../contract/metrics.ts';
import { LoopDelayMonitor, type LoopDelays } from '../../infra/loop-delay.ts';

/** Names that promtool refuses: gauges ending in `_total`. */
const REFUSED_DEFAULTS = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

/**
 * prom-client's gauges of the event loop, and what they are given. It would measure with a timer of 10 ms, which took half of
 * the CPU time of an idle primary; the first gauge is the one that makes it overwrite the others, and is replaced.
 */
const LOOP_GAUGES: Record<string, keyof LoopDelays> = {
  nodejs_eventloop_lag_seconds: 'meanMs',
  nodejs_eventloop_lag_min_seconds: 'minMs',
  nodejs_eventloop_lag_max_seconds: 'maxMs',
  nodejs_eventloop_lag_mean_seconds: 'meanMs',
  nodejs_eventloop_lag_stddev_seconds: 'stddevMs',
  nodejs_eventloop_lag_p50_seconds: 'p50Ms',
  nodejs_eventloop_lag_p90_seconds: 'p90Ms',
  nodejs_eventloop_lag_p99_seconds: 'p99Ms',
};
const OVERWRITING_GAUGE = 'nodejs_eventloop_lag_seconds';
/** The longest timer there is, 24 days: prom-client cannot be told to have none. */
const NEVER_MS = 2 ** 31 - 1;

type Labels = Record<string, string>;

interface HistogramCells {
  labels: Labels;
  /** Not cumulative; one per bound, then +Inf. */
  buckets: number[];
  count: number;
  sum: number;
}

interface ExposedValue {
  labels: Labels | Record<string, string | number>;
  value: number;
  metricName: string;
}

/** prom-client has no way to add whole distributions to a Histogram, so this one brings its own values. */
class SummedHistogram extends Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  readonly #byLabels = new Map<string, HistogramCells>();

  constructor(name: MetricName, registry: Registry) {
    const { help, labels, bucketsSec = [] } = definitionOf(name);
    super({ name, help, labelNames: [...labels], buckets: [...bucketsSec], registers: [registry] });
    this.#name = name;
    this.#help = help;
    this.#bounds = bucketsSec;
  }

  /** cellsOf finds or makes the distribution of a label set. */
  cellsOf(labels: Labels): HistogramCells {
    const key = JSON.stringify(labels);
    let cells = this.#byLabels.get(key);
    if (cells === undefined) {
      cells = { labels, buckets: new Array<number>(this.#bounds.length + 1).fill(0), count: 0, sum: 0 };
      this.#byLabels.set(key, cells);
    }
    return cells;
  }

  /** Called by the registry of prom-client in place of the class's own rendering. */
  async getForPromString(): Promise<object> {
    const values: ExposedValue[] = [];
    for (const cells of this.#byLabels.values()) {
      let cumulative = 0;
      cells.buckets.forEach((count, i) => {
        cumulative += count;
        const le = this.#bounds[i] ?? '+Inf';
        values.push({
          metricName: `${this.#name}_bucket`,
          labels: { ...cells.labels, le },
          value: cumulative,
        });
      });
      values.push({ metricName: `${this.#name}_sum`, labels: cells.labels, value: cells.sum });
      values.push({ metricName: `${this.#name}_count`, labels: cells.labels, value: cells.count });
    }
    return { name: this.#name, help: this.#help, type: 'histogram', values, aggregator: 'sum' };
  }
}

/** One cell of a worker: where its number goes. */
type Cell =
  | { kind: 'counter'; counter: Counter; labels: Labels }
  | { kind: 'gauge'; name: MetricName; labels: Labels; value: number }
  | { kind: 'histogram'; cells: HistogramCells; offset: number };

export class MetricsCollector {
  readonly #registry = new Registry();
  readonly #counters = new Map<MetricName, Counter>();
  readonly #gauges = new Map<MetricName, Gauge>();
  readonly #histograms = new Map<MetricName, SummedHistogram>();
  readonly #loopDelay = new LoopDelayMonitor();
  /** Cells by worker and index. */
  readonly #workers = new Map<number, Map<number, Cell>>();

  constructor() {
    const registry = this.#registry;
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: NEVER_MS });
    for (const name of [...REFUSED_DEFAULTS, OVERWRITING_GAUGE]) registry.removeSingleMetric(name);
    new Gauge({ name: OVERWRITING_GAUGE, help: 'Mean lag of event loop in seconds.', registers: [registry] });
    for (const name of Object.keys(METRICS) as MetricName[]) this.#define(name);
  }

  /** applyDelta adds what a worker sent; `worker` is any number unique to that process. */
  applyDelta(worker: number, delta: MetricsDelta): void {
    let cells = this.#workers.get(worker);
    if (cells === undefined) {
      cells = new Map();
      this.#workers.set(worker, cells);
    }
    for (const series of delta.series) this.#open(cells, series);
    for (let i = 0; i + 1 < delta.cells.length; i += 2) {
      const cell = cells.get(delta.cells[i]!);
      if (cell !== undefined) addTo(cell, delta.cells[i + 1]!);
    }
  }

  /** forget drops the gauges of a worker that is gone; its counts stay. */
  forget(worker: number): void {
    this.#workers.delete(worker);
  }

  /** count adds to a counter of the primary's own. */
  count(name: MetricName, labels: Labels, n = 1): void {
    this.#counters.get(name)?.inc(labels, n);
  }

  /** replaceGauge sets a gauge of the primary's own to exactly these series; others of that name vanish. */
  replaceGauge(name: MetricName, entries: { labels: Labels; value: number }[]): void {
    const gauge = this.#gauges.get(name);
    gauge?.reset();
    for (const { labels, value } of entries) gauge?.set(labels, value);
  }

  /** text renders everything in the Prometheus text format; for /metrics. */
  async text(): Promise<string> {
    this.#sumWorkerGauges();
    this.#setLoopGauges();
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  #define(name: MetricName): void {
    const { kind, help, labels } = definitionOf(name);
    const common = { name, help, labelNames: [...labels], registers: [this.#registry] };
    if (kind === 'counter') this.#counters.set(name, new Counter(common));
    else if (kind === 'gauge') this.#gauges.set(name, new Gauge(common));
    else this.#histograms.set(name, new SummedHistogram(name, this.#registry));
  }

  #open(cells: Map<number, Cell>, series: MetricsDelta['series'][number]): void {
    // A worker of a newer version may have others.
    if (!isMetricName(series.name)) return;
    const { kind, labels: names, bucketsSec = [] } = definitionOf(series.name);
    const labels: Labels = Object.fromEntries(names.map((name, i) => [name, series.labels[i] ?? '']));
    const counter = this.#counters.get(series.name);
    const histogram = this.#histograms.get(series.name);
    if (kind === 'counter' && counter !== undefined) {
      cells.set(series.index, { kind, counter, labels });
    } else if (kind === 'gauge') {
      cells.set(series.index, { kind, name: series.name, labels, value: 0 });
    } else if (kind === 'histogram' && histogram !== undefined) {
      const into = histogram.cellsOf(labels);
      // Behind the buckets: +Inf, count, sum (contract/metrics.ts).
      for (let offset = 0; offset < bucketsSec.length + 3; offset++) {
        cells.set(series.index + offset, { kind, cells: into, offset });
      }
    }
  }

  /** Since the last scrape, whoever asked for it. */
  #setLoopGauges(): void {
    const delays = this.#loopDelay.take();
    for (const [name, of] of Object.entries(LOOP_GAUGES)) {
      const gauge = this.#registry.getSingleMetric(name);
      if (gauge instanceof Gauge) gauge.set(delays[of] / 1_000);
    }
  }

  #sumWorkerGauges(): void {
    const sums = new Map<MetricName, Map<string, { labels: Labels; value: number }>>();
    for (const cells of this.#workers.values()) {
      for (const cell of cells.values()) {
        if (cell.kind !== 'gauge') continue;
        const ofName = sums.get(cell.name) ?? new Map<string, { labels: Labels; value: number }>();
        sums.set(cell.name, ofName);
        const key = JSON.stringify(cell.labels);
        const sum = ofName.get(key) ?? { labels: cell.labels, value: 0 };
        sum.value += cell.value;
        ofName.set(key, sum);
      }
    }
    for (const [name, entries] of sums) this.replaceGauge(name, [...entries.values()]);
  }
}

function addTo(cell: Cell, n: number): void {
  if (cell.kind === 'counter') {
    if (n > 0) cell.counter.inc(cell.labels, n);
  } else if (cell.kind === 'gauge') {
    cell.value = n;
  } else {
    const { buckets } = cell.cells;
    if (cell.offset < buckets.length) buckets[cell.offset]! += n;
    else if (cell.offset === buckets.length) cell.cells.count += n;
    else cell.cells.sum += n;
  }
}
