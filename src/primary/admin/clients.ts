/** The calls on clients and their limits: list, create, read, replace, change, delete. */
import * as z from 'zod';
import { type ClientInput, canonicalClientId } from '../../clients/client-record.ts';
import {
  bucketLimits,
  type ClientView,
  capacity,
  mode,
  refillPerSecond,
  type SeenView,
  seenView,
  type WrittenView,
  writtenView,
} from '../../contract/client-view.ts';
import { type ClientRecord, MAX_FILL_SEC } from '../../contract/clients.ts';
import { DEFAULT_NAME } from '../../contract/settings.ts';
import { type AdminApp, call, done } from './app.ts';
import { etagOf, expectedOf, ifMatchHeaders } from './if-match.ts';
import { listBody, listOf, pageOf, pageQuery } from './paging.ts';
import type { AdminParts } from './parts.ts';
import { type FieldError, invalidFields } from './problems.ts';
import type { AdminChange } from './records.ts';

const ID_RULE = 'must be 1–128 of A–Z a–z 0–9 . _ : @ - (other than . and ..) or an IP address or CIDR';

/** The pattern is for readers of the API's description. The transform decides, and returns the canonical form. */
const clientId = z
  .string()
  .regex(/^[A-Za-z0-9._:@/-]{1,128}$/, ID_RULE)
  .transform((text, context) => {
    const canonical = canonicalClientId(text);
    if (canonical !== null) return canonical;
    context.issues.push({ code: 'custom', message: ID_RULE, input: text });
    return z.NEVER;
  });
const limits = z
  .record(z.string(), bucketLimits.check(checkPair))
  .meta({ description: 'Own limits by policy name, for the policies other than default' });

const fields = {
  mode: mode.default('limit'),
  capacity: capacity.nullable().default(null),
  refillPerSecond: refillPerSecond.nullable().default(null),
  limits: limits.default({}),
};
const createBody = z.strictObject({ clientId, ...fields }).check(checkPair);
const putBody = z.strictObject({ clientId: clientId.optional(), ...fields }).check(checkPair);
const patchBody = z
  .strictObject({ mode, capacity: capacity.nullable(), refillPerSecond: refillPerSecond.nullable(), limits })
  .partial();
/** The parameters of a client's path; parsing brings the id into canonical form. */
export const clientIdParams = z.strictObject({ clientId });

const listQuery = pageQuery.extend({
  prefix: z
    .string()
    .regex(/^[A-Za-z0-9._:@/-]{0,128}$/, 'must be the beginning of a clientId')
    .default('')
    .meta({ description: 'Lists the clients whose ids begin with it' }),
});

const BASE = '/api/v1/clients';
const ONE = `${BASE}/:clientId`;

/**
 * registerClients adds the routes. A write answers once the workers of this machine know it, or after a second. A PUT is answered without an ETag, because
 * defaults are added to what was sent (RFC 9110 §9.3.4).
 */
export function registerClients(app: AdminApp, parts: AdminParts): void {
  const { clients, whenTold } = parts.directory;
  const [params, headers] = [clientIdParams, ifMatchHeaders];
  app.get(
    BASE,
    call('clients', 'List clients in order of their ids', [422], {
      querystring: listQuery,
      response: { 200: listOf(seenView) },
    }),
    async ({ query }) => {
      const { prefix, ...page } = query;
      const { items, next } = await clients.list({ ...pageOf(page), prefix });
      return listBody({ items: await seenViews(parts, items), next });
    },
  );
  app.get(
    ONE,
    call('clients', 'Read a client', [404, 422], { params, response: { 200: seenView } }),
    async ({ params: { clientId: id } }, reply) => {
      const record = await clients.get(id);
      const [view] = await seenViews(parts, [record]);
      return reply.headers(etagOf(record)).send(view!);
    },
  );
  app.delete(
    ONE,
    call('clients', 'Delete a client', [404, 412, 422], { params, headers, response: done('Deleted') }),
    async (request, reply) => {
      const { clientId: id } = request.params;
      request.asked = { subject: subjectOf(id) };
      const before = await clients.remove(id, expectedOf(request.headers));
      request.changed(changeOf(id, before, null));
      await whenTold();
      return reply.code(204).send(null);
    },
  );
  registerWrites(app, parts);
}

type Clients = AdminParts['directory']['clients'];

function registerWrites(app: AdminApp, parts: AdminParts): void {
  const { directory, reloader } = parts;
  const { clients, whenTold } = directory;
  const [params, headers] = [clientIdParams, ifMatchHeaders];
  app.post(
    BASE,
    call('clients', 'Create a client', [409], { body: createBody, response: { 201: writtenView } }),
    async (request, reply) => {
      const { clientId: id, ...input } = request.body;
      checkPolicies(input.limits, reloader);
      request.asked = { subject: subjectOf(id), asked: input };
      const record = await clients.create(id, input);
      request.changed(changeOf(id, null, record));
      const view = writtenOf(record, await whenTold());
      const location = locationOf(record.clientId);
      return reply
        .code(201)
        .headers({ location, ...etagOf(record) })
        .send(view);
    },
  );
  app.put(
    ONE,
    call('clients', 'Create or replace a client', [412], {
      params,
      headers,
      body: putBody,
      response: { 200: writtenView, 201: writtenView },
    }),
    async (request, reply) => {
      const { clientId: id } = request.params;
      const { clientId: bodyId = id, ...input } = request.body;
      if (bodyId !== id) refuse('clientId', 'must equal the clientId of the path');
      checkPolicies(input.limits, reloader);
      request.asked = { subject: subjectOf(id), asked: input };
      const { before, record } = await clients.put(id, input, expectedOf(request.headers));
      request.changed(changeOf(id, before, record));
      const view = writtenOf(record, await whenTold());
      const created = before === null;
      if (created) reply.header('location', locationOf(record.clientId));
      return reply.code(created ? 201 : 200).send(view);
    },
  );
  const summary = 'Change the given fields of a client; `limits` is replaced as a whole';
  app.patch(
    ONE,
    call('clients', summary, [404, 412], {
      params,
      headers,
      body: patchBody,
      response: { 200: writtenView },
    }),
    async (request, reply) => {
      const { clientId: id } = request.params;
      const { body } = request;
      // Without the undefined fields, which the table would take for values.
      const given = Object.entries(body).filter(([, value]) => value !== undefined);
      const patch = Object.fromEntries(given);
      request.asked = { subject: subjectOf(id), asked: patch };
      checkPolicies(body.limits ?? {}, reloader);
      await checkPatch(clients, id, body);
      const { before, record } = await clients.patch(id, patch, expectedOf(request.headers));
      request.changed(changeOf(id, before, record));
      return reply.headers(etagOf(record)).send(writtenOf(record, await whenTold()));
    },
  );
}

/**
 * A patch may have one half of the pair when the client has the other. Only the given fields are written, so that two
 * patches of different fields at a time both take effect. Where they break the pair together, the table refuses the second.
 */
async function checkPatch(clients: Clients, id: string, body: z.infer<typeof patchBody>): Promise<void> {
  if (body.capacity === undefined && body.refillPerSecond === undefined) return;
  const current = viewOf(await clients.get(id));
  const { capacity: tokens = current.capacity, refillPerSecond: rate = current.refillPerSecond } = body;
  const problem = pairProblem({ capacity: tokens, refillPerSecond: rate });
  if (problem !== null) refuse('refillPerSecond', problem);
}

type Pair = Pick<ClientInput, 'capacity' | 'refillPerSecond'>;

function checkPair({ issues, value }: z.core.ParsePayload<Pair>): void {
  // A number out of range has its own message already.
  const message = issues.length > 0 ? null : pairProblem(value);
  if (message !== null) issues.push({ code: 'custom', message, path: ['refillPerSecond'], input: value });
}

function pairProblem({ capacity: tokens, refillPerSecond: rate }: Pair): string | null {
  if (tokens === null && rate === null) return null;
  if (tokens === null || rate === null) return 'capacity and refillPerSecond come together or not at all';
  return tokens / rate <= MAX_FILL_SEC ? null : 'capacity / refillPerSecond must be at most 30 days';
}

function checkPolicies(given: ClientInput['limits'], { current }: AdminParts['reloader']): void {
  const errors: FieldError[] = [];
  for (const name of Object.keys(given)) {
    const field = `limits.${name}`;
    if (name === DEFAULT_NAME) errors.push({ field, message: 'is given as capacity and refillPerSecond' });
    else if (!current.settings.rateLimit.policies.some((policy) => policy.name === name))
      errors.push({ field, message: 'there is no policy of this name' });
  }
  if (errors.length > 0) throw invalidFields(errors);
}

function refuse(field: string, message: string): never {
  throw invalidFields([{ field, message }]);
}

function subjectOf(id: string): string {
  return `client ${id}`;
}

/** @param from null: there was none @param to null: it was deleted */
function changeOf(id: string, from: ClientRecord | null, to: ClientRecord | null): AdminChange {
  const subject = subjectOf(id);
  const [before, after] = [from && viewOf(from), to && viewOf(to)];
  const about = { subject, before, after };
  if (after === null) return { ...about, text: `${subject} was deleted` };
  if (before === null) return { ...about, text: `${subject} was created` };
  const changed = (Object.keys(after) as (keyof ClientView)[]).flatMap((key) => {
    const [old, now] = [JSON.stringify(before[key]), JSON.stringify(after[key])];
    return old === now ? [] : [`${key} ${old} → ${now}`];
  });
  const what = changed.length === 0 ? 'nothing has changed' : changed.join(', ');
  return { ...about, text: `${subject}: ${what}` };
}

function viewOf(record: ClientRecord): ClientView {
  const { [DEFAULT_NAME]: own, ...others } = record.limits;
  return {
    clientId: record.clientId,
    mode: record.mode,
    capacity: own?.capacity ?? null,
    refillPerSecond: own?.refillPerSecond ?? null,
    limits: others,
  };
}

function writtenOf(record: ClientRecord, pendingWorkers: number[]): WrittenView {
  return { ...viewOf(record), ...(pendingWorkers.length > 0 && { pendingWorkers }) };
}

/** With the times at which their last requests came, as far as the workers say. */
async function seenViews({ lastSeen }: AdminParts, records: readonly ClientRecord[]): Promise<SeenView[]> {
  const seen = await lastSeen.of(records.map(({ clientId: id }) => id));
  return records.map((record) => {
    const lastSeenAt = seen.get(record.clientId);
    return { ...viewOf(record), ...(lastSeenAt !== undefined && { lastSeenAt }) };
  });
}

function locationOf(id: string): string {
  return `${BASE}/${encodeURIComponent(id)}`;
}
