/** The last hour as columns for the charts: GET /api/v1/history, then a second of it with each sample. */
import type { Curve, History, Sample } from './answers.ts';
import { call } from './call.ts';
import { Store } from './store.ts';

const HOUR_SEC = 3_600;
/** Samples come about once a second. */
const STEP_SEC = 5;

const CURVES = [
  'requestsPerSec',
  'errorsPerSec',
  'limitedPerSec',
  'p50Ms',
  'p95Ms',
  'p99Ms',
  'inFlight',
  'connections',
] as const;
const WORKER_CURVES = ['cpuRatio', 'residentBytes', 'loopDelayMs'] as const;
export type CurveName = (typeof CURVES)[number];
export type WorkerCurveName = (typeof WORKER_CURVES)[number];

export interface Columns {
  /** Seconds since the epoch, ascending. */
  times: number[];
  curves: Record<CurveName, Curve>;
  workers: Map<number, Record<WorkerCurveName, Curve>>;
}

const emptyCurves = () => Object.fromEntries(CURVES.map((name) => [name, [] as Curve])) as Columns['curves'];

export const history = new Store<Columns>({ times: [], curves: emptyCurves(), workers: new Map() });

let loadingCount = 0;

/** loadHistory replaces the columns; a failure leaves them, for the samples go on. */
export async function loadHistory(): Promise<void> {
  loadingCount++;
  const answer = await call<History>(`/api/v1/history?seconds=${HOUR_SEC}`).catch(() => null);
  loadingCount--;
  if (answer !== null) history.set(columnsOf(answer));
}

function columnsOf({ stepSec, endsAt, series, workers }: History): Columns {
  const all = series.requestsPerSec ?? [];
  // Of a primary that is younger than an hour nothing comes first.
  const first = Math.max(
    0,
    all.findIndex((value) => value !== null),
  );
  const count = all.length - first;
  const endSec = Math.floor(Date.parse(endsAt) / 1_000);
  const times = Array.from({ length: count }, (_, index) => endSec - (count - 1 - index) * stepSec);
  const cut = <Name extends string>(names: readonly Name[], from: Partial<Record<Name, Curve>>) =>
    Object.fromEntries(
      names.map((name) => [name, from[name]?.slice(first) ?? new Array<null>(count).fill(null)]),
    ) as Record<Name, Curve>;
  const byWorker = workers.map(({ id, ...curves }) => [id, cut(WORKER_CURVES, curves)] as const);
  return { times, curves: cut(CURVES, series), workers: new Map(byWorker) };
}

/**
 * addSample appends the newest second, at its time: the clock of this machine may be another one. Where that of the server has been set, or
 * samples were missed, all columns are asked for again, with the times of now. The columns are changed in place, in a new object, so that
 * who compares objects sees the change.
 */
export function addSample({ history: { endsAt, series, workers: current } }: Sample): void {
  const { times, curves, workers } = history.value;
  const timeSec = Math.floor(Date.parse(endsAt) / 1_000);
  const aheadSec = timeSec - (times.at(-1) ?? timeSec - 1);
  if (Math.abs(aheadSec) > STEP_SEC && loadingCount === 0) void loadHistory();
  if (aheadSec <= 0 || aheadSec > STEP_SEC) return;
  const lengthBefore = times.length;
  times.push(timeSec);
  for (const name of CURVES) curves[name].push(series[name]?.at(-1) ?? null);
  for (const { id } of current) {
    if (!workers.has(id)) workers.set(id, emptyWorker(lengthBefore));
  }
  for (const [id, columns] of workers) {
    const worker = current.find((each) => each.id === id);
    for (const name of WORKER_CURVES) columns[name].push(worker?.[name].at(-1) ?? null);
  }
  while (timeSec - (times[0] ?? timeSec) > HOUR_SEC) dropFirst(history.value);
  history.set({ times, curves, workers });
}

function emptyWorker(length: number): Record<WorkerCurveName, Curve> {
  return Object.fromEntries(
    WORKER_CURVES.map((name) => [name, new Array<null>(length).fill(null)]),
  ) as Record<WorkerCurveName, Curve>;
}

function dropFirst({ times, curves, workers }: Columns): void {
  times.shift();
  for (const name of CURVES) curves[name].shift();
  for (const columns of workers.values()) for (const name of WORKER_CURVES) columns[name].shift();
}
