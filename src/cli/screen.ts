/** What `sluice status` prints and `sluice top` shows: the sections of one look at a running Sluice. */
import * as z from 'zod';
import { UNMATCHED_ROUTE } from '../contract/settings.ts';
import type { Tones } from '../contract/tones.ts';
import { bytes, duration, millis, percent, perSec, type Row, type Section, whole } from './table.ts';

const rate = z.number().nullish();
const latency = { p50Ms: rate, p95Ms: rate, p99Ms: rate };

const backend = z.looseObject({
  id: z.string(),
  state: z.string(),
  reason: z.string().nullish(),
  inFlight: z.number(),
  weight: z.number(),
  ...{ requestsPerSec: rate, p99Ms: rate, share: rate },
});
export const poolsSchema = z.array(z.looseObject({ pool: z.string(), backends: z.array(backend) }));

/** sampleSchema is what `GET /api/v1/status` and the samples of `GET /api/v1/events` have in common. */
export const sampleSchema = z.looseObject({
  problems: z.array(z.looseObject({ severity: z.string(), text: z.string() })),
  now: z.looseObject({
    ...{ requestsPerSec: rate, errorsPerSec: rate, limitedPerSec: rate, ...latency },
    ...{ inFlight: rate, connections: rate, tunnels: rate, bytesInPerSec: rate, bytesOutPerSec: rate },
  }),
  routes: z.array(
    z.looseObject({
      route: z.string(),
      requestsPerSec: rate,
      errorsPerSec: rate,
      limitedPerSec: rate,
      ...latency,
      hiddenBy: z.string().nullish(),
    }),
  ),
  policies: z.array(
    z.looseObject({
      policy: z.string(),
      ...{ allowedPerSec: rate, limitedPerSec: rate, shadowPerSec: rate, refusedPerSec: rate },
    }),
  ),
  workers: z.array(
    z.looseObject({
      ...{ id: z.number(), pid: z.number(), state: z.string(), uptimeSec: z.number() },
      ...{ cpuRatio: rate, residentBytes: rate, loopDelayMs: rate, connections: rate, inFlight: rate },
      ...{ requestsPerSec: rate, overload: z.string().nullish() },
    }),
  ),
  waitingWorkers: z.array(z.looseObject({ id: z.number(), startsInSec: z.number() })).default([]),
  pools: poolsSchema.optional(),
});
export type Sample = z.infer<typeof sampleSchema>;

/** topSchema is `GET /api/v1/top`. */
export const topSchema = z.looseObject({
  items: z.array(
    z.looseObject({ client: z.string(), requestsPerSec: rate, limitedPerSec: rate, share: rate }),
  ),
});
export type Senders = z.infer<typeof topSchema>;

/** sectionsOf makes the screen in the order in which it is read: what is wrong, traffic, pools, workers, and what they serve. */
export function sectionsOf(sample: Sample, senders: Senders | null): Section[] {
  return [
    problems(sample),
    traffic(sample),
    pools(sample),
    workers(sample),
    routes(sample),
    policies(sample),
    ...(senders === null ? [] : [clients(senders)]),
  ];
}

function problems({ problems: found }: Sample): Section {
  const rows = found.map(({ severity, text }): Row => {
    return { cells: [severity, text], tone: severity === 'error' ? 'bad' : 'warn' };
  });
  return { title: 'PROBLEMS', headings: [], rows, none: 'nothing is wrong', textColumns: 2 };
}

function traffic({ now }: Sample): Section {
  const cells = [
    ...[now.requestsPerSec, now.errorsPerSec, now.limitedPerSec].map(perSec),
    ...[now.p50Ms, now.p95Ms, now.p99Ms].map(millis),
    ...[now.inFlight, now.connections, now.tunnels].map(whole),
    ...[now.bytesInPerSec, now.bytesOutPerSec].map(bytes),
  ];
  const headings = ['REQ/S', 'ERR/S', '429/S', 'P50 MS', 'P95 MS', 'P99 MS', 'IN FLIGHT'];
  headings.push('CONNECTIONS', 'TUNNELS', 'BODIES IN/S', 'BODIES OUT/S');
  const tone = (now.errorsPerSec ?? 0) > 0 ? 'warn' : null;
  return { title: 'TRAFFIC', headings, rows: [{ cells, tone }], none: '', textColumns: 0 };
}

function pools({ pools: known = [] }: Sample): Section {
  const rows = known.flatMap(({ pool, backends }) =>
    backends.map((each): Row => {
      const { id, state, reason, inFlight, weight, requestsPerSec, p99Ms, share } = each;
      const why = state === 'up' ? '' : (reason ?? '');
      const numbers = [whole(weight), whole(inFlight), perSec(requestsPerSec), percent(share), millis(p99Ms)];
      return { cells: [pool, id, state, ...numbers, why], tone: TONES[state] ?? null };
    }),
  );
  const headings = ['POOL', 'BACKEND', 'STATE', 'WEIGHT', 'IN FLIGHT', 'ATTEMPTS/S', 'SHARE', 'P99 MS'];
  headings.push('REASON');
  return { title: 'POOLS', headings, rows, none: 'no pools', textColumns: 3, endsInText: true };
}

const TONES: Readonly<Record<string, Row['tone']>> = {
  ...{ down: 'bad', ejected: 'bad', draining: 'warn', unknown: 'warn', starting: 'warn' },
  ...{ softened: 'warn', shedding: 'bad' },
} satisfies Tones;

function workers({ workers: known, waitingWorkers }: Sample): Section {
  const rows = known.map((each): Row => {
    const { id, pid, state, uptimeSec, overload } = each;
    const shown = overload && overload !== 'none' ? `${state}, ${overload}` : state;
    const load = [percent(each.cpuRatio), bytes(each.residentBytes), millis(each.loopDelayMs)];
    const counts = [whole(each.connections), whole(each.inFlight), perSec(each.requestsPerSec)];
    const tone = TONES[overload ?? ''] ?? TONES[state] ?? null;
    return { cells: [String(id), shown, String(pid), duration(uptimeSec), ...load, ...counts], tone };
  });
  for (const { id, startsInSec } of waitingWorkers) {
    const cells = [String(id), `starts again in ${startsInSec} s`, ...new Array<string>(8).fill('-')];
    rows.push({ cells, tone: 'bad' });
  }
  const headings = [
    'WORKER',
    'STATE',
    'PID',
    'UPTIME',
    'CPU',
    'MEMORY',
    'LOOP MS',
    'CONNECTIONS',
    'IN FLIGHT',
    'REQ/S',
  ];
  return { title: 'WORKERS', headings, rows, none: 'no worker runs', textColumns: 2 };
}

function routes({ routes: known }: Sample): Section {
  const shown = known.filter(
    ({ route, requestsPerSec }) => route !== UNMATCHED_ROUTE || (requestsPerSec ?? 0) > 0,
  );
  const rows = shown.map(
    ({ route, requestsPerSec, errorsPerSec, limitedPerSec, p50Ms, p95Ms, p99Ms, hiddenBy }): Row => {
      const hidden = hiddenBy == null ? '' : ` (never reached: ${hiddenBy})`;
      const name = route === UNMATCHED_ROUTE ? 'none matches' : `${route}${hidden}`;
      const rates = [requestsPerSec, errorsPerSec, limitedPerSec].map(perSec);
      const tone = (errorsPerSec ?? 0) > 0 ? 'warn' : null;
      return { cells: [name, ...rates, ...[p50Ms, p95Ms, p99Ms].map(millis)], tone };
    },
  );
  const headings = ['ROUTE', 'REQ/S', 'ERR/S', '429/S', 'P50 MS', 'P95 MS', 'P99 MS'];
  return { title: 'ROUTES', headings, rows, none: 'no routes', textColumns: 1 };
}

function policies({ policies: known }: Sample): Section {
  const rows = known.map((each): Row => {
    const rates = [each.allowedPerSec, each.limitedPerSec, each.shadowPerSec, each.refusedPerSec];
    return { cells: [each.policy, ...rates.map(perSec)], tone: null };
  });
  const headings = ['POLICY', 'ALLOWED/S', '429/S', 'SHADOW/S', 'STORE AWAY/S'];
  return { title: 'LIMITS', headings, rows, none: 'no policies', textColumns: 1 };
}

function clients({ items }: Senders): Section {
  const rows = items.map(({ client, requestsPerSec, limitedPerSec, share }): Row => {
    const tone = (limitedPerSec ?? 0) > 0 ? 'warn' : null;
    return { cells: [client, perSec(requestsPerSec), perSec(limitedPerSec), percent(share)], tone };
  });
  const headings = ['CLIENT', 'REQ/S', '429/S', 'SHARE'];
  return { title: 'HEAVIEST CLIENTS', headings, rows, none: 'nobody has sent anything', textColumns: 1 };
}
