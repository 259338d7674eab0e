/** The call that reads the audit. */
import * as z from 'zod';
import { EVENT_KINDS } from '../../contract/events.ts';
import type { AuditPlace } from '../audit/audit-table.ts';
import { type AdminApp, call } from './app.ts';
import { listBody, listOf, pageOf, pageQuery } from './paging.ts';
import type { AdminParts } from './parts.ts';
import { invalidFields } from './problems.ts';

const TIME_RULE = 'must be a time like 2026-12-01T14:03:00Z';
const time = z.iso.datetime({ offset: true, error: TIME_RULE }).transform((text) => Date.parse(text));
const name = z
  .string()
  .max(1024)
  .regex(/^[^\0]*$/, 'must not have a NUL');

const query = pageQuery.extend({
  kind: z.enum(EVENT_KINDS).optional(),
  actor: name.optional().meta({
    description:
      '`admin` (the token of the admin port), `none` (the port has no token), or the address of the caller',
  }),
  subject: name.optional().meta({ description: 'Such as `client acme`, or `app/10.0.0.12:80`' }),
  since: time.optional().meta({ description: 'The first moment, ISO 8601' }),
  until: time.optional().meta({ description: 'The first moment that does not count any more' }),
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

const SUMMARY =
  'List what has happened on all machines that share the database, and who changed what; the newest first';

/** registerAudit adds the route. It waits for what is about to be written, a second at most. */
export function registerAudit(app: AdminApp, { audit }: AdminParts): void {
  app.get(
    '/api/v1/audit',
    call('operation', SUMMARY, [422], { querystring: query, response: { 200: listOf(entryView) } }),
    async ({ query: { kind, actor, subject, since, until, ...page } }) => {
      const { limit, after } = pageOf(page);
      const place = after === null ? null : parsePlace(after);
      await audit.whenWritten();
      const filter = { kind, actor, subject, sinceMs: since, untilMs: until };
      const { items, next } = await audit.table.page({ limit, after: place, ...filter });
      return listBody({ items, next: next && `${next.atUs} ${next.number} ${next.instance}` });
    },
  );
}

function parsePlace(text: string): AuditPlace {
  const [, atUs, number, instance] = /^(-?\d{1,16}) (-?\d{1,16}) (.*)$/s.exec(text) ?? [];
  if (instance === undefined)
    throw invalidFields([{ field: 'after', message: 'is not the `next` of a page' }]);
  return { atUs: Number(atUs), number: Number(number), instance };
}
