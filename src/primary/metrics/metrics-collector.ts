/**
 * The totals of all workers, past and present, and the primary's own numbers. Once a second each worker sends by how much its counters
 * have grown. So a scrape is answered from memory, one second old at most; a worker that hangs delays nobody; and no counter falls
 * when a worker is replaced. Gauges are the primary's: see gauges.ts.
 */
import { collectDefaultMetrics, Registry } from 'prom-client';
import {
  bucketOf,
  cellCount,
  type Exemplar,
  type IsLive,
  METRICS,
  type MetricDefinition,
  type MetricName,
  type MetricsDelta,
} from '../../contract/metrics.ts';
import { LoopDelayMonitor, type LoopDelays } from '../../infra/loop-delay.ts';

/** promtool refuses gauges that end in `_total`. The gauges of the event loop are ours: see LOOP_GAUGES. */
const REFUSED_DEFAULTS = /^nodejs_(active_\w+_total|eventloop_lag_\w+)$/;
/** The gauges of the event loop, by prom-client's names. Its own timer of 10 ms took half of the CPU time of an idle primary. */
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
/** The longest interval of a timer, 24 days: prom-client cannot be told to have no timer. */
const NEVER_MS = 2 ** 31 - 1;
const OWN_HELP = 'Primary process only:';
const NAMES = Object.keys(METRICS) as MetricName[];

interface Series {
  labels: readonly string[];
  /** As in a worker: one number, or the cells of a histogram. */
  cells: number[];
  /** By bucket, of a histogram that has some. */
  exemplars?: Exemplar[];
}

/** The series of one metric. */
class Family {
  readonly name: MetricName;
  readonly definition: MetricDefinition;
  readonly #series = new Map<string, Series>();

  constructor(name: MetricName) {
    this.name = name;
    this.definition = METRICS[name];
  }

  /** cellsOf finds the numbers of a series, or begins it at 0. */
  cellsOf(labels: readonly string[], key = labels.join('\u0000')): number[] {
    let series = this.#series.get(key);
    if (series === undefined) {
      series = { labels, cells: new Array<number>(cellCount(this.definition)).fill(0) };
      this.#series.set(key, series);
    }
    return series.cells;
  }

  get series(): Iterable<Readonly<Series>> {
    return this.#series.values();
  }

  noteExemplar(exemplar: Exemplar): void {
    const series = this.#series.get(exemplar.route);
    if (series === undefined) return;
    series.exemplars ??= [];
    series.exemplars[bucketOf(this.definition.bucketsSec, exemplar.seconds)] = exemplar;
  }

  forgetExemplars(): void {
    for (const series of this.#series.values()) delete series.exemplars;
  }

  clear(): void {
    this.#series.clear();
  }

  keepOnly(isLive: IsLive): void {
    for (const [key, { labels }] of this.#series) if (!isLive(this.name, labels)) this.#series.delete(key);
  }

  /** text is in the Prometheus text format 0.0.4, and with exemplars that of OpenMetrics. */
  text(withExemplars: boolean): string {
    const { help, kind } = this.definition;
    const lines = [`# HELP ${this.name} ${help}`, `# TYPE ${this.name} ${kind}`];
    for (const { labels, cells, exemplars = [] } of this.#series.values()) {
      const pairs = this.definition.labels.map((label, i) => `${label}="${escaped(labels[i] ?? '')}"`);
      if (kind === 'histogram')
        lines.push(...this.#histogramLines(pairs, cells, withExemplars ? exemplars : []));
      else lines.push(`${this.name}${braced(pairs)} ${cells[0]}`);
    }
    return `${lines.join('\n')}\n`;
  }

  #histogramLines(pairs: string[], cells: number[], exemplars: readonly Exemplar[]): string[] {
    let cumulative = 0;
    const bounds = [...this.definition.bucketsSec, '+Inf'];
    const buckets = bounds.map((bound, i) => {
      cumulative += cells[i] ?? 0;
      const line = `${this.name}_bucket${braced([...pairs, `le="${bound}"`])} ${cumulative}`;
      return line + exemplarText(exemplars[i]);
    });
    const [count, sum] = cells.slice(bounds.length);
    return [
      ...buckets,
      `${this.name}_sum${braced(pairs)} ${sum}`,
      `${this.name}_count${braced(pairs)} ${count}`,
    ];
  }
}

/** The values of a series' labels, in the order of the table, and its number. */
export type SeriesValue = readonly [labels: readonly string[], value: number];

/** Where a number of a worker goes. */
interface Cell {
  family: Family;
  labels: readonly string[];
  key: string;
  offset: number;
}

export class MetricsCollector {
  readonly #defaults = new Registry();
  readonly #loopDelay = new LoopDelayMonitor();
  readonly #families = new Map(NAMES.map((name) => [name, new Family(name)]));
  /** By worker, then by the index that the worker gave the cell. */
  readonly #workers = new Map<number, Map<number, Cell>>();

  constructor() {
    collectDefaultMetrics({ register: this.#defaults, eventLoopMonitoringPrecision: NEVER_MS });
    for (const metric of this.#defaults.getMetricsAsArray()) {
      if (REFUSED_DEFAULTS.test(metric.name)) this.#defaults.removeSingleMetric(metric.name);
      else if ('help' in metric) metric.help = `${OWN_HELP} ${metric.help}`;
    }
  }

  /** applyDelta adds what a worker sent; `worker` is any number unique to that process. */
  applyDelta(worker: number, delta: MetricsDelta): void {
    const cells = this.#workers.get(worker) ?? new Map<number, Cell>();
    this.#workers.set(worker, cells);
    for (const series of delta.series) this.#open(cells, series);
    for (let i = 0; i + 1 < delta.cells.length; i += 2) {
      const cell = cells.get(delta.cells[i]!);
      if (cell === undefined) continue;
      cell.family.cellsOf(cell.labels, cell.key)[cell.offset]! += delta.cells[i + 1]!;
    }
  }

  /** forget drops the indexes of a worker that is gone; its counts stay. */
  forget(worker: number): void {
    this.#workers.delete(worker);
  }

  /** count adds to a counter of the primary's own. */
  count(name: MetricName, labels: readonly string[], n = 1): void {
    this.#families.get(name)!.cellsOf(labels)[0]! += n;
  }

  /** replace sets a metric of the primary's own to exactly these series; others of that name vanish. */
  replace(name: MetricName, series: readonly SeriesValue[]): void {
    const family = this.#families.get(name)!;
    family.clear();
    for (const [labels, value] of series) family.cellsOf(labels)[0] = value;
  }

  /** keepOnly drops what the configuration no longer has; after a reload and before each answer to a scrape. */
  keepOnly(isLive: IsLive): void {
    for (const family of this.#families.values()) family.keepOnly(isLive);
  }

  /** seriesOf are the series of a metric, as they are now. */
  seriesOf(name: MetricName): Iterable<Readonly<Series>> {
    return this.#families.get(name)!.series;
  }

  /** noteExemplars keeps the newest one of each bucket. */
  noteExemplars(exemplars: readonly Exemplar[]): void {
    const family = this.#families.get('sluice_request_duration_seconds');
    for (const exemplar of exemplars) family?.noteExemplar(exemplar);
  }

  /** forgetExemplars is for a configuration without `tracing`: nobody may have those traces any more. */
  forgetExemplars(): void {
    this.#families.get('sluice_request_duration_seconds')?.forgetExemplars();
  }

  /** text renders everything for /metrics, in the Prometheus text format or in that of OpenMetrics, which has exemplars. */
  async text(openMetrics = false): Promise<string> {
    const own = [...this.#families.values()].map((family) => family.text(openMetrics));
    const text = `${own.join('\n')}\n${await this.#defaults.metrics()}\n${loopText(this.#loopDelay.take())}`;
    return openMetrics ? inOpenMetrics(text) : text;
  }

  #open(cells: Map<number, Cell>, { name, labels, index }: MetricsDelta['series'][number]): void {
    const family = this.#families.get(name);
    // A worker of a newer version may have others.
    if (family === undefined) return;
    const key = labels.join('\u0000');
    family.cellsOf(labels, key);
    for (let offset = 0; offset < cellCount(family.definition); offset++) {
      cells.set(index + offset, { family, labels, key, offset });
    }
  }
}

/** The delay of the event loop since the last scrape, by whichever scraper. */
function loopText(delays: LoopDelays): string {
  const texts = Object.entries(LOOP_GAUGES).map(([name, of]) => {
    const help = `${OWN_HELP} delay of the event loop since the last scrape (${of.replace('Ms', '')}).`;
    return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${name} ${delays[of] / 1_000}\n`;
  });
  return texts.join('\n');
}

function braced(pairs: readonly string[]): string {
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function exemplarText(exemplar: Exemplar | undefined): string {
  if (exemplar === undefined) return '';
  const { traceId, seconds, atMs } = exemplar;
  return ` # {trace_id="${traceId}"} ${seconds} ${atMs / 1_000}`;
}

/** Of OpenMetrics 1.0: a counter is named without `_total`, no line is empty, and the last one says so. */
function inOpenMetrics(text: string): string {
  const named = text.replace(/^# (HELP|TYPE) (\S+)_total /gm, '# $1 $2 ');
  return `${named.replace(/\n{2,}/g, '\n').trimEnd()}\n# EOF\n`;
}
