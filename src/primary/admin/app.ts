/** The types of the framework as this folder uses them, and helpers for the descriptions of routes. */
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
const COMMON_PROBLEMS = [401, 403, 503] as const;

/** problemResponses describes the refusals of a route; every route has those of COMMON_PROBLEMS. */
export function problemResponses(...statuses: number[]) {
  const content: Record<typeof PROBLEM_TYPE, { schema: typeof problemSchema }> = {
    [PROBLEM_TYPE]: { schema: problemSchema },
  };
  const response = { description: 'Refused', content };
  return Object.fromEntries([...COMMON_PROBLEMS, ...statuses].map((status) => [status, response]));
}

/** listOf is the shape of every list. `next` is the `after` of the next page, null on the last page. */
export function listOf<T extends z.ZodType>(item: T) {
  return z.strictObject({ items: z.array(item), next: z.string().nullable() });
}
