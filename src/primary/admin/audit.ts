/** The calls that read the audit. */
import * as z from 'zod';
import { EVENT_KINDS } from '../../contract/events.ts';
import { sqlStateOf } from '../../infra/postgres/postgres-errors.ts';
import type { AuditCursor, AuditPage, PageQuery } from '../audit/day-table.ts';
import { type AdminApp, call } from './app.ts';
import { listBody, listOf, pageOf, pageQuery } from './paging.ts';
import type { AdminParts } from './parts.ts';
import { HttpProblem, invalidFields } from './problems.ts';
import { requestFilters, statusRange } from './requests.ts';
import { Turns } from './turns.ts';

const TIME_RULE = 'must be a time like 2026-12-01T14:03:00Z';
const time = z.iso.datetime({ offset: true, error: TIME_RULE }).transform((text) => Date.parse(text));
const name = z
  .string()
  .max(1024)
  .regex(/^[^\0]*$/, 'must not have a NUL');

const times = {
  since: time.optional().meta({ description: 'The first moment, ISO 8601' }),
  until: time.optional().meta({ description: 'Only before this time' }),
};

const query = pageQuery.extend({
  kind: z.enum(EVENT_KINDS).optional(),
  actor: name.optional().meta({
    description:
      '`admin` (the token of the admin port), `none` (the port has no token), or the address of the caller',
  }),
  subject: name.optional().meta({ description: 'Such as `client acme`, or `app/10.0.0.12:80`' }),
  ...times,
});

const requestsQuery = pageQuery.extend({ ...requestFilters, ...times });

const text = z.string().nullable();
const requestView = z.strictObject({
  time: z.string().meta({ description: 'When it ended; ISO 8601, UTC' }),
  instance: z.string().meta({ description: 'The name of the machine' }),
  requestId: z.string(),
  clientIp: z.string(),
  clientId: text,
  method: text,
  host: text,
  path: text.meta({ description: 'Without the query; 1,024 characters at most' }),
  status: z.number(),
  grpcStatus: z.number().nullable().meta({ description: 'Of a call of gRPC that has one' }),
  reason: z.string().meta({ description: 'As in the access log' }),
  bytesIn: z.number(),
  bytesOut: z.number(),
  totalMs: z.number(),
  backend: text,
  route: text,
  policies: z.array(z.string()).nullable().meta({ description: 'Those that refused the request' }),
});

const entryView = z.strictObject({
  at: z.string().meta({ description: 'ISO 8601, UTC' }),
  instance: z.string().meta({ description: 'The name of the machine' }),
  number: z.number().meta({ description: 'In the event log of the machine' }),
  kind: z.string(),
  severity: z.string().meta({ description: 'info, warning or error' }),
  text: z.string(),
  subject: z.string().nullable(),
  actor: z
    .strictObject({ who: z.string(), from: z.string(), requestId: z.string() })
    .nullable()
    .meta({ description: 'Who asked for it, and from where; null: nobody did' }),
  data: z.unknown().meta({ description: 'Of a change `before` and `after`, where they are known' }),
});

const REQUESTS_SUMMARY =
  'List requests that `audit.requests` keeps, of all machines that share the database; the newest first';
const SUMMARY =
  'List what has happened on all machines that share the database, and who changed what; the newest first';

/** One page is read at a time: a filter without an index reads a whole day or more, and connections to the database are few. */
const TURNS = {
  maxRunning: 1,
  maxWaiting: 16,
  // The database gives up a page after 5 s: whoever may write waits longer than that for the page of a reader.
  waitMs: { write: 7_000, read: 2_000 },
  busy: 'other pages of the audit are being read, and take long',
};
/** SQLSTATE query_canceled: the statement timeout. */
const TOO_LONG = '57014';

/** registerAudit adds the routes. They wait for an embedded database that starts, for what is about to be written, and for their turn. */
export function registerAudit(app: AdminApp, { audit }: AdminParts): void {
  const turns = new Turns(TURNS);
  app.get(
    '/api/v1/audit',
    call('operation', SUMMARY, [422], { querystring: query, response: { 200: listOf(entryView) } }),
    async ({ access, socket, query: { kind, actor, subject, ...page } }) => {
      const query = pageFrom(page);
      await audit.whenWritten('events');
      const filter = { ...query, kind, actor, subject };
      return pageBody(await turns.run({ access, socket }, () => audit.events.page(filter)).catch(refuse));
    },
  );
  app.get(
    '/api/v1/audit/requests',
    call('operation', REQUESTS_SUMMARY, [422], {
      querystring: requestsQuery,
      response: { 200: listOf(requestView) },
    }),
    async ({ access, socket, query: { client, route, status, ...page } }) => {
      const query = pageFrom(page);
      await audit.whenWritten('requests');
      const range = status === undefined ? undefined : statusRange(status);
      const filter = { ...query, client, route, status: range };
      return pageBody(await turns.run({ access, socket }, () => audit.requests.page(filter)).catch(refuse));
    },
  );
}

/** Throws HttpProblem 503 for a page that the database gives up. */
function refuse(thrown: unknown): never {
  if (sqlStateOf(thrown) !== TOO_LONG) throw thrown;
  throw new HttpProblem(503, 'the page takes too long: give `since`, as late as you can');
}

type Page = z.infer<typeof pageQuery> & { since?: number | undefined; until?: number | undefined };

function pageFrom({ since, until, ...page }: Page): PageQuery {
  const { limit, after } = pageOf(page);
  return { limit, after: after === null ? null : parseCursor(after), sinceMs: since, untilMs: until };
}

function pageBody<Item>({ items, next }: AuditPage<Item>) {
  return listBody({ items, next: next && `${next.atUs} ${next.number} ${next.instance}` });
}

function parseCursor(text: string): AuditCursor {
  const [, atUs, number, instance] = /^(-?\d{1,16}) (-?\d{1,16}) (.*)$/s.exec(text) ?? [];
  if (instance === undefined)
    throw invalidFields([{ field: 'after', message: 'is not the `next` of a page' }]);
  return { atUs: Number(atUs), number: Number(number), instance };
}
