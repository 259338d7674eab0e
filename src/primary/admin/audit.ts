/** The calls that read the audit. */
import * as z from 'zod';
import { EVENT_KINDS } from '../../contract/events.ts';
import { sqlStateOf } from '../../infra/postgres/postgres-errors.ts';
import { atMost } from '../../infra/with-deadline.ts';
import type { AuditPage, AuditPlace, PageQuery } from '../audit/day-table.ts';
import { type AdminApp, call } from './app.ts';
import { listBody, listOf, pageOf, pageQuery } from './paging.ts';
import type { AdminParts } from './parts.ts';
import { HttpProblem, invalidFields } from './problems.ts';
import { requestFilters, statusRange } from './requests.ts';

const TIME_RULE = 'must be a time like 2026-12-01T14:03:00Z';
const time = z.iso.datetime({ offset: true, error: TIME_RULE }).transform((text) => Date.parse(text));
const name = z
  .string()
  .max(1024)
  .regex(/^[^\0]*$/, 'must not have a NUL');

const times = {
  since: time.optional().meta({ description: 'The first moment, ISO 8601' }),
  until: time.optional().meta({ description: 'The first moment that does not count any more' }),
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

/** A page waits this long for those before it. */
const TURN_MS = 2_000;
/** SQLSTATE query_canceled: the statement timeout. */
const TOO_LONG = '57014';

/** registerAudit adds the routes. They wait for an embedded database that starts, for what is about to be written, and for their turn. */
export function registerAudit(app: AdminApp, { audit }: AdminParts): void {
  const inTurn = makeTurns();
  app.get(
    '/api/v1/audit',
    call('operation', SUMMARY, [422], { querystring: query, response: { 200: listOf(entryView) } }),
    async ({ query: { kind, actor, subject, ...page } }) => {
      const query = placedPage(page);
      await audit.whenWritten('events');
      return pageBody(await inTurn(() => audit.events.page({ ...query, kind, actor, subject })));
    },
  );
  app.get(
    '/api/v1/audit/requests',
    call('operation', REQUESTS_SUMMARY, [422], {
      querystring: requestsQuery,
      response: { 200: listOf(requestView) },
    }),
    async ({ query: { client, route, status, ...page } }) => {
      const query = placedPage(page);
      await audit.whenWritten('requests');
      const range = status === undefined ? undefined : statusRange(status);
      return pageBody(await inTurn(() => audit.requests.page({ ...query, client, route, status: range })));
    },
  );
}

/**
 * One page is read at a time: a filter without an index reads a whole day or more, and connections to the database are few. Throws
 * HttpProblem 503 for a page that waits longer than TURN_MS, and for one that the database gives up.
 */
function makeTurns(): <T>(read: () => Promise<T>) => Promise<T> {
  /** Never rejects; null: nobody reads. */
  let reading: Promise<void> | null = null;
  return async (read) => {
    const untilMs = performance.now() + TURN_MS;
    while (reading !== null)
      if (!(await atMost(reading, untilMs - performance.now())))
        throw new HttpProblem(503, 'other pages of the audit are being read, and take long');
    const page = read();
    const free = (): void => {
      reading = null;
    };
    reading = page.then(free, free);
    try {
      return await page;
    } catch (thrown) {
      if (sqlStateOf(thrown) !== TOO_LONG) throw thrown;
      throw new HttpProblem(503, 'the page takes too long: give `since`, as late as you can');
    }
  };
}

type Page = z.infer<typeof pageQuery> & { since?: number | undefined; until?: number | undefined };

function placedPage({ since, until, ...page }: Page): PageQuery {
  const { limit, after } = pageOf(page);
  return { limit, after: after === null ? null : parsePlace(after), sinceMs: since, untilMs: until };
}

function pageBody<Item>({ items, next }: AuditPage<Item>) {
  return listBody({ items, next: next && `${next.atUs} ${next.number} ${next.instance}` });
}

function parsePlace(text: string): AuditPlace {
  const [, atUs, number, instance] = /^(-?\d{1,16}) (-?\d{1,16}) (.*)$/s.exec(text) ?? [];
  if (instance === undefined)
    throw invalidFields([{ field: 'after', message: 'is not the `next` of a page' }]);
  return { atUs: Number(atUs), number: Number(number), instance };
}
