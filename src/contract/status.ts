/** What the admin port shows of now and of the last hour. The dashboard and the command line read it. */
import * as z from 'zod';
import { OVERLOAD_LEVELS } from './overload.ts';

const count = z.int().min(0);
const rate = z.number().min(0);
const quantile = z.number().min(0).nullable();

/** Of requests that have ended in the last ten seconds. */
const traffic = {
  requestsPerSec: rate,
  errorsPerSec: rate.meta({ description: 'Failed by Sluice or a backend (sluice_request_failures_total)' }),
  limitedPerSec: rate.meta({ description: 'Answered with 429, or with RESOURCE_EXHAUSTED of gRPC' }),
  p50Ms: quantile.meta({ description: 'Estimated within the buckets of the histogram; null: none ended' }),
  p95Ms: quantile,
  p99Ms: quantile,
};

const nowView = z
  .strictObject({
    ...traffic,
    inFlight: count,
    connections: count,
    tunnels: count,
    bytesInPerSec: rate,
    bytesOutPerSec: rate,
  })
  .meta({ description: 'Means and quantiles of the last ten seconds' });
export type Now = z.infer<typeof nowView>;

const problemView = z.strictObject({
  key: z.string().meta({ description: 'Names the problem for as long as it lasts, whatever its text says' }),
  code: z.string().meta({ description: 'A fixed word for this sort of problem, such as backend_down' }),
  severity: z.enum(['error', 'warning']),
  text: z.string().meta({ description: 'The problem in one plain sentence' }),
  since: z.iso
    .datetime()
    .nullable()
    .meta({ description: 'When this process first saw it; null: it has no start' }),
});
export type Problem = z.infer<typeof problemView>;

const routeTrafficView = z.strictObject({
  route: z.string(),
  ...traffic,
  hiddenBy: z
    .string()
    .nullable()
    .meta({ description: 'The route before it that takes all its requests; null: none does' }),
});
export type RouteTraffic = z.infer<typeof routeTrafficView>;

const policyTrafficView = z.strictObject({
  policy: z.string(),
  allowedPerSec: rate,
  limitedPerSec: rate,
  shadowPerSec: rate.meta({ description: 'Would have been refused' }),
  shadowLastMinute: count.meta({ description: 'How many would have been refused in the last minute' }),
  refusedPerSec: rate.meta({ description: 'Refused because the store is away' }),
});
export type PolicyTraffic = z.infer<typeof policyTrafficView>;

const workerLoadView = z.strictObject({
  id: count,
  pid: count,
  state: z.enum(['starting', 'serving', 'draining']),
  uptimeSec: rate,
  cpuRatio: rate.meta({ description: 'Of one CPU' }),
  busyRatio: rate.meta({ description: 'Part of the last second that the event loop did not wait' }),
  residentBytes: count,
  loopDelayMs: rate.meta({ description: 'Longest delay of the event loop in the last second' }),
  connections: count,
  inFlight: count,
  requestsPerSec: rate.meta({ description: 'Requests that have begun' }),
  overload: z.enum(OVERLOAD_LEVELS),
});
export type WorkerLoad = z.infer<typeof workerLoadView>;

export const degradedView = z.array(z.enum(['redis', 'postgres', 'backends'])).meta({
  description: 'What is away now; backends: no backend of some pool takes requests',
});
export type Degraded = z.infer<typeof degradedView>;

/** What changes all the time: GET /api/v1/events sends it once a second. */
const live = {
  phase: z.enum(['starting', 'ready', 'draining']),
  phaseSec: count.meta({ description: 'For how long, to a second' }),
  revision: count,
  degraded: degradedView,
  problems: z.array(problemView).meta({ description: 'What is wrong now, the worst first' }),
  now: nowView,
  slowestRoute: z
    .strictObject({ route: z.string(), p99Ms: z.number() })
    .nullable()
    .meta({ description: 'null: no request ended' }),
  routes: z.array(routeTrafficView).meta({ description: 'In the order of the configuration' }),
  policies: z.array(policyTrafficView),
  workers: z.array(workerLoadView),
  waitingWorkers: z
    .array(z.strictObject({ id: count, startsInSec: rate }))
    .meta({ description: 'Those that have died and are started again after a pause' }),
  store: z.strictObject({ kind: z.enum(['redis', 'memory']), connected: z.boolean() }),
  database: z.strictObject({ kind: z.enum(['postgres', 'embedded']), connected: z.boolean() }),
};
export type Live = z.infer<z.ZodObject<typeof live, z.core.$strict>>;

export const statusView = z.strictObject({
  version: z.string(),
  node: z.string(),
  instance: z.string().meta({ description: 'The name of the machine' }),
  pid: count.meta({ description: 'Of the primary' }),
  startedAt: z.iso.datetime().meta({ description: 'Of the primary' }),
  uptimeSec: count,
  ...live,
});
export type Status = z.infer<typeof statusView>;

export const HISTORY_SEC = 3_600;
export const HISTORY_SERIES = [
  ...['requestsPerSec', 'errorsPerSec', 'limitedPerSec', 'p50Ms', 'p95Ms', 'p99Ms'],
  ...['inFlight', 'connections'],
] as const;
export const WORKER_SERIES = ['cpuRatio', 'residentBytes', 'loopDelayMs'] as const;

/** Samples a second apart, the oldest first; null: there was none, or nothing to measure. */
const samples = z.array(z.number().nullable());
export const historyView = z.strictObject({
  stepSec: z.literal(1),
  endsAt: z.iso.datetime().meta({ description: 'Of the last sample' }),
  series: z.record(z.string(), samples).meta({ description: HISTORY_SERIES.join(', ') }),
  workers: z.array(
    z.strictObject({ id: count, cpuRatio: samples, residentBytes: samples, loopDelayMs: samples }),
  ),
});
export type History = z.infer<typeof historyView>;
