/** What `sluice status` prints and `sluice top` shows: the sections of one look at a running Sluice. */
import * as z from 'zod';

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

/** A row with a tone is in red (bad) or yellow (warn) on a terminal with colours. */
interface Row {
  cells: string[];
  tone: 'bad' | 'warn' | null;
}

/** The first column is text, the others are numbers where `textColumns` says nothing else. */
export interface Section {
  title: string;
  headings: string[];
  rows: Row[];
  /** Shown in place of no rows. */
  none: string;
  /** How many columns from the left are text; the others are aligned at their ends. */
  textColumns: number;
}

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
  const headings = ['REQ/S', 'ERR/S', 'LIMITED/S', 'P50 MS', 'P95 MS', 'P99 MS', 'IN FLIGHT'];
  headings.push('CONNECTIONS', 'TUNNELS', 'IN/S', 'OUT/S');
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
  const headings = ['POOL', 'BACKEND', 'STATE', 'WEIGHT', 'IN FLIGHT', 'REQ/S', 'SHARE', 'P99 MS', 'REASON'];
  return { title: 'POOLS', headings, rows, none: 'no pools', textColumns: 3 };
}

const TONES: Readonly<Record<string, Row['tone']>> = {
  ...{ down: 'bad', ejected: 'bad', draining: 'warn', unknown: 'warn', starting: 'warn' },
  ...{ softened: 'warn', shedding: 'bad' },
};

function workers({ workers: known }: Sample): Section {
  const rows = known.map((each): Row => {
    const { id, pid, state, uptimeSec, overload } = each;
    const shown = overload && overload !== 'none' ? `${state}, ${overload}` : state;
    const load = [percent(each.cpuRatio), bytes(each.residentBytes), millis(each.loopDelayMs)];
    const counts = [whole(each.connections), whole(each.inFlight), perSec(each.requestsPerSec)];
    const tone = TONES[overload ?? ''] ?? TONES[state] ?? null;
    return { cells: [String(id), shown, String(pid), duration(uptimeSec), ...load, ...counts], tone };
  });
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
  const rows = known.map(
    ({ route, requestsPerSec, errorsPerSec, limitedPerSec, p50Ms, p95Ms, p99Ms }): Row => {
      const rates = [requestsPerSec, errorsPerSec, limitedPerSec].map(perSec);
      const tone = (errorsPerSec ?? 0) > 0 ? 'warn' : null;
      return { cells: [route, ...rates, ...[p50Ms, p95Ms, p99Ms].map(millis)], tone };
    },
  );
  const headings = ['ROUTE', 'REQ/S', 'ERR/S', 'LIMITED/S', 'P50 MS', 'P95 MS', 'P99 MS'];
  return { title: 'ROUTES', headings, rows, none: 'no routes', textColumns: 1 };
}

function policies({ policies: known }: Sample): Section {
  const rows = known.map((each): Row => {
    const rates = [each.allowedPerSec, each.limitedPerSec, each.shadowPerSec, each.refusedPerSec];
    return { cells: [each.policy, ...rates.map(perSec)], tone: null };
  });
  const headings = ['POLICY', 'ALLOWED/S', 'LIMITED/S', 'SHADOW/S', 'REFUSED/S'];
  return { title: 'LIMITS', headings, rows, none: 'no policies', textColumns: 1 };
}

function clients({ items }: Senders): Section {
  const rows = items.map(({ client, requestsPerSec, limitedPerSec, share }): Row => {
    const tone = (limitedPerSec ?? 0) > 0 ? 'warn' : null;
    return { cells: [client, perSec(requestsPerSec), perSec(limitedPerSec), percent(share)], tone };
  });
  const headings = ['CLIENT', 'REQ/S', 'LIMITED/S', 'SHARE'];
  return { title: 'HEAVIEST CLIENTS', headings, rows, none: 'nobody has sent anything', textColumns: 1 };
}

/** A line of text and its tone; for whoever writes sections. */
export interface Line {
  text: string;
  tone: Row['tone'] | 'title' | 'dim';
}

/**
 * linesOf writes a section as a table. Of numbers alone (no text columns) it makes several tables where one is wider than `columns`;
 * others are cut by who shows them. @param printable what makes names safe for a terminal
 */
export function linesOf(
  section: Section,
  printable: (text: string) => string,
  columns = Number.POSITIVE_INFINITY,
): Line[] {
  const title: Line = { text: section.title, tone: 'title' };
  if (section.rows.length === 0) return [title, { text: section.none, tone: 'dim' }];
  const cells = section.rows.map((row) => row.cells.map(printable));
  const table = section.headings.length === 0 ? cells : [section.headings, ...cells];
  const widths = (cells[0] ?? []).map((_, at) => Math.max(...table.map((row) => row[at]?.length ?? 0)));
  const lines = partsOf(widths, section.textColumns === 0 ? columns : Number.POSITIVE_INFINITY).flatMap(
    (part) =>
      table.map((row, at): Line => {
        const index = at - (table.length - cells.length);
        return {
          text: rowText(section, row, widths, part),
          tone: index < 0 ? 'dim' : (section.rows[index]?.tone ?? null),
        };
      }),
  );
  // Sentences are not cut.
  if (section.headings.length > 0 || columns === Number.POSITIVE_INFINITY) return [title, ...lines];
  const part = new RegExp(`.{1,${Math.max(1, columns)}}`, 'gu');
  return [
    title,
    ...lines.flatMap(({ text, tone }) => (text.match(part) ?? []).map((each) => ({ text: each, tone }))),
  ];
}

const GAP = '  ';

/** Columns that fit beside each other, as numbers of columns. */
function partsOf(widths: number[], columns: number): number[][] {
  const parts: number[][] = [];
  let used = 0;
  for (const [at, width] of widths.entries()) {
    if (parts.length === 0 || used + width > columns) {
      parts.push([]);
      used = 0;
    }
    parts.at(-1)?.push(at);
    used += width + GAP.length;
  }
  return parts;
}

function rowText(
  { headings, textColumns }: Section,
  row: string[],
  widths: number[],
  part: number[],
): string {
  return part
    .map((at) => {
      const isText = at < textColumns || headings[at] === 'REASON';
      const [cell = '', width = 0] = [row[at], widths[at]];
      return isText ? cell.padEnd(width) : cell.padStart(width);
    })
    .join(GAP)
    .trimEnd();
}

const NONE = '-';

function perSec(value: number | null | undefined): string {
  if (value == null) return NONE;
  return value > 0 && value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en');
}

function millis(value: number | null | undefined): string {
  if (value == null) return NONE;
  return value < 10
    ? value.toFixed(2)
    : value < 100
      ? value.toFixed(1)
      : Math.round(value).toLocaleString('en');
}

function whole(value: number | null | undefined): string {
  return value == null ? NONE : Math.round(value).toLocaleString('en');
}

function percent(ratio: number | null | undefined): string {
  return ratio == null ? NONE : `${Math.round(ratio * 100)} %`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

function bytes(value: number | null | undefined): string {
  if (value == null) return NONE;
  const power = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, value)) / 10)));
  const shown = value / 1024 ** power;
  return `${shown < 10 && power > 0 ? shown.toFixed(1) : Math.round(shown)} ${UNITS[power]}`;
}

/** duration is a time in its two largest units; for the head of the screen too. */
export function duration(sec: number): string {
  const parts = [
    [Math.floor(sec / 86_400), 'd'],
    [Math.floor(sec / 3600) % 24, 'h'],
    [Math.floor(sec / 60) % 60, 'min'],
    [Math.floor(sec) % 60, 's'],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return '0 s';
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(' ');
}
