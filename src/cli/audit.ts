/** `sluice audit`: who changed what, what has happened, and which requests came, on all machines that share the database. */
import { type Command, Option } from 'commander';
import * as z from 'zod';
import { EVENT_KINDS } from '../contract/events.ts';
import { printable } from '../contract/json-text.ts';
import type { ListView } from './output.ts';
import { addTarget, type ConfigPath, countOf, fitting, type Session } from './session.ts';

const entrySchema = z.looseObject({
  at: z.string(),
  instance: z.string(),
  kind: z.string(),
  text: z.string(),
  actor: z.object({ who: z.string(), from: z.string() }).nullable(),
});

const auditTable: ListView<z.infer<typeof entrySchema>> = {
  item: entrySchema,
  headings: ['AT', 'MACHINE', 'KIND', 'BY', 'WHAT'],
  cells: ({ at, instance, kind, actor, text }) => [
    at,
    instance,
    kind,
    actor === null ? '-' : `${actor.who} ${actor.from}`,
    text,
  ],
  none: 'nothing in the audit',
};

const requestSchema = z.looseObject({
  time: z.string(),
  instance: z.string(),
  clientIp: z.string(),
  clientId: z.string().nullable(),
  method: z.string().nullable(),
  host: z.string().nullable(),
  path: z.string().nullable(),
  status: z.number(),
  grpcStatus: z.number().nullish(),
  reason: z.string(),
  totalMs: z.number(),
  route: z.string().nullable(),
});

const requestTable: ListView<z.infer<typeof requestSchema>> = {
  item: requestSchema,
  headings: ['AT', 'MACHINE', 'STATUS', 'REASON', 'MS', 'CLIENT', 'ROUTE', 'REQUEST'],
  cells: ({ time, instance, status, grpcStatus, reason, totalMs, clientId, clientIp, route, ...request }) => [
    time,
    instance,
    grpcStatus == null ? String(status) : `${status} grpc ${grpcStatus}`,
    reason,
    totalMs.toFixed(1),
    clientId === null ? clientIp : `${clientId} ${clientIp}`,
    route ?? '-',
    `${request.method ?? '-'} ${request.host ?? ''}${request.path ?? ''}`,
  ],
  none: 'no requests in the audit',
};

const EVENT_FILTERS = ['kind', 'actor', 'subject'];
const REQUEST_FILTERS = ['client', 'route', 'status'];
const FILTERS = [...EVENT_FILTERS, ...REQUEST_FILTERS, 'since', 'until', 'after'];

const configSchema = z.looseObject({ audit: z.looseObject({ requests: z.string() }) });

/** addAudit gives the command `audit` its options and action; for cli.ts. */
export function addAudit(audit: Command, configPath: ConfigPath): void {
  audit
    .addOption(new Option('--kind <kind>', 'only this kind').choices(EVENT_KINDS))
    .option('--actor <actor>', 'only what came from this address, or by this token (admin, none)')
    .option('--subject <subject>', 'only what is about it, such as "client acme" or app/10.0.0.12:80')
    .addOption(
      ofRequests('--requests', 'requests that the key audit.requests keeps, in place of what happened'),
    )
    .addOption(ofRequests('--client <client>', 'only requests of this client, or from this address or range'))
    .addOption(ofRequests('--route <route>', 'only requests of this route'))
    .addOption(ofRequests('--status <status>', 'only requests with this status, such as 429, or 5xx'))
    .option('--since <time>', 'the first moment, such as 2026-12-01T14:00:00Z')
    .option('--until <time>', 'only before this time')
    .option('--limit <n>', 'how many, the newest first', countOf, 50)
    .option('--after <cursor>', 'the cursor that the earlier call printed');
  const open = addTarget(audit, configPath);
  audit.action(async () => {
    const session = await open();
    const { limit, requests, ...options } = audit.opts<
      Record<string, string | undefined> & { limit: number; requests?: true }
    >();
    const query = FILTERS.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]]));
    const filters: Record<string, string> = Object.fromEntries(query);
    const isOfRequests = requests ?? REQUEST_FILTERS.some((name) => name in filters);
    const { count, next } = isOfRequests
      ? await session.printList('/api/v1/audit/requests', requestTable, filters, limit)
      : await session.printList('/api/v1/audit', auditTable, filters, limit);
    if (isOfRequests && count === 0) await sayIfOff(session);
    if (next !== null) process.stderr.write(`sluice: there are older ones: --after ${printable(next)}\n`);
  });
}

function ofRequests(flags: string, description: string): Option {
  return new Option(flags, description).conflicts(EVENT_FILTERS);
}

async function sayIfOff(session: Session): Promise<void> {
  const { audit } = fitting(configSchema, await session.call('GET', '/api/v1/config'));
  if (audit.requests === 'off') process.stderr.write('sluice: no requests are kept: audit.requests is off\n');
}
