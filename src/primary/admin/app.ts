/** The types of the framework as this folder uses them, and how a call is described. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import * as z from 'zod';
import { PROBLEM_TYPE, problemSchema } from './problems.ts';

export type AdminApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** Any call can be refused with these: for its token, its Host or its deadline. */
const COMMON_PROBLEMS = [401, 403, 503];
const BODY_PROBLEMS = [400, 413, 415, 422];

interface CallSchema {
  params?: z.ZodType;
  querystring?: z.ZodType;
  body?: z.ZodType;
  response: Record<number, unknown>;
}

/**
 * call makes the options of a route: its schemas, and what /openapi.json and docs/admin-api.md say about it.
 * @param summary without a full stop
 * @param refusals statuses besides those of COMMON_PROBLEMS and, for a call with a body, BODY_PROBLEMS
 */
export function call<S extends CallSchema>(tag: string, summary: string, refusals: number[], schema: S) {
  const statuses = [...COMMON_PROBLEMS, ...(schema.body ? BODY_PROBLEMS : []), ...refusals];
  const refused = { description: 'Refused', content: { [PROBLEM_TYPE]: { schema: problemSchema } } };
  const problems = Object.fromEntries(statuses.map((status) => [status, refused]));
  const response: S['response'] = { ...schema.response, ...problems };
  return { schema: { ...schema, tags: [tag], summary, response } };
}

/** done is the answer without a body. */
export function done(description: string) {
  return { 204: z.null().meta({ description }) };
}
