/** How answers are printed without --json, which prints the JSON of the admin port. */

import * as z from 'zod';
import { printable } from '../contract/json-text.ts';

const limits = z.object({ capacity: z.number(), refillPerSecond: z.number() });

export const clientSchema = z.looseObject({
  clientId: z.string(),
  mode: z.string(),
  capacity: z.number().nullable(),
  refillPerSecond: z.number().nullable(),
  limits: z.record(z.string(), limits),
  /** Answers of writes have none. */
  lastSeenAt: z.string().nullable().optional(),
  pendingWorkers: z.array(z.number()).optional(),
});
const keySchema = z.looseObject({ keyId: z.string(), name: z.string().nullable(), createdAt: z.string() });
export const issuedKeySchema = keySchema.extend({ key: z.string() });
const bucketSchema = limits
  .extend({ policy: z.string(), level: z.number(), nextTokenMs: z.number() })
  .loose();

/** ListView says how one kind of list is read and printed. */
export interface ListView<Item> {
  item: z.ZodType<Item>;
  headings: readonly string[];
  cells: (item: Item) => string[];
  /** Printed for an empty list. */
  none: string;
}

type Client = z.infer<typeof clientSchema>;

export const clientTable: ListView<Client> = {
  item: clientSchema,
  headings: ['CLIENT', 'MODE', 'CAPACITY', 'REFILL/S', 'LAST SEEN', 'LIMITS OF OTHER POLICIES'],
  cells: ({ clientId, mode, capacity, refillPerSecond, lastSeenAt, limits: others }) => [
    clientId,
    mode,
    String(capacity ?? '-'),
    String(refillPerSecond ?? '-'),
    lastSeenAt ?? '-',
    limitsText(others),
  ],
  none: 'no clients',
};

export const keyTable: ListView<z.infer<typeof keySchema>> = {
  item: keySchema,
  headings: ['KEY ID', 'CREATED', 'NAME'],
  cells: ({ keyId, createdAt, name }) => [keyId, createdAt, name ?? ''],
  none: 'no keys',
};

export const bucketTable: ListView<z.infer<typeof bucketSchema>> = {
  item: bucketSchema,
  headings: ['POLICY', 'LEVEL', 'CAPACITY', 'REFILL/S', 'NEXT TOKEN'],
  cells: ({ policy, level, capacity, refillPerSecond, nextTokenMs }) => [
    policy,
    String(Math.floor(level * 100) / 100),
    String(capacity),
    String(refillPerSecond),
    nextTokenMs === 0 ? 'now' : `in ${nextTokenMs} ms`,
  ],
  none: 'no policies, so no buckets',
};

/** clientText is the answer of `get` and `set`. */
export function clientText(client: Client): string {
  const { clientId, mode, capacity, refillPerSecond, lastSeenAt, limits: others } = client;
  const lines = [
    `client           ${clientId}`,
    `mode             ${mode}`,
    `capacity         ${capacity ?? 'of the policy'}`,
    `refillPerSecond  ${refillPerSecond ?? 'of the policy'}`,
  ];
  if (client.pendingWorkers !== undefined)
    lines.push(`not yet known by worker ${client.pendingWorkers.join(', ')}`);
  if (lastSeenAt !== undefined) lines.push(`last seen        ${lastSeenAt ?? '-'}`);
  if (Object.keys(others).length > 0) lines.push(`other policies   ${limitsText(others)}`);
  return lines.map(printable).join('\n');
}

function limitsText(others: Client['limits']): string {
  return Object.entries(others)
    .map(([policy, own]) => `${policy}=${own.capacity}/${own.refillPerSecond}`)
    .join(' ');
}

/** formatterOf writes a list page by page. The first page has the headings, and decides the widths of the columns. */
export function formatterOf<Item>({ headings, cells }: ListView<Item>): (items: Item[]) => string {
  let widths: number[] | null = null;
  return (items) => {
    const shown = items.map((item) => cells(item).map(printable));
    const rows = widths === null ? [headings, ...shown] : shown;
    const known = widths ?? headings.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
    widths = known;
    const padded = rows.map((row) => row.map((cell, i) => cell.padEnd(known[i] ?? 0)));
    return padded.map((each) => each.join('  ').trimEnd()).join('\n');
  };
}
