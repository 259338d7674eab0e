/** The framework's types as the files of this folder use them, and the helpers that describe routes to it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import * as z from 'zod';
import { type FieldError, HttpProblem, invalidFields, PROBLEM_TYPE, problemSchema } from './problems.ts';
import { sentenceOf } from './sentences.ts';

export type AdminApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** Every call may be refused with these, for its token, its Host or its deadline. */
const COMMON_PROBLEMS = [401, 403, 503] as const;

interface ProblemResponse {
  description: string;
  content: Record<typeof PROBLEM_TYPE, { schema: typeof problemSchema }>;
}

/** problemResponses documents the refusals of a route, including those that every route has. */
export function problemResponses(...statuses: number[]): Record<number, ProblemResponse> {
  const response = { description: 'Refused', content: { [PROBLEM_TYPE]: { schema: problemSchema } } };
  return Object.fromEntries([...COMMON_PROBLEMS, ...statuses].map((status) => [status, response]));
}

/** listOf is the shape of every list. `next` is the `after` of the next page, null on the last one. */
export function listOf<T extends z.ZodType>(item: T) {
  return z.strictObject({ items: z.array(item), next: z.string().nullable() });
}

/**
 * compileValidator is the framework's validator compiler: it checks one part of a request with its zod schema. A missing
 * body is malformed (400); every other mistake names its fields (422).
 */
export function compileValidator({ schema, httpPart }: { schema: z.ZodType; httpPart?: string | undefined }) {
  return (data: unknown): { value: unknown } | { error: Error } => {
    const isAbsent = data === undefined || data === null;
    if (httpPart === 'body' && isAbsent && !takesNothing(schema)) {
      return { error: new HttpProblem(400, 'a JSON body is needed') };
    }
    const result = schema.safeParse(data ?? undefined, { error: sentenceOf });
    if (result.success) return { value: result.data };
    const errors = result.error.issues.flatMap((issue) => fieldErrorsOf(issue, httpPart));
    // One sentence per field: the last one is the narrowest, because zod checks an integer's own range first.
    return { error: invalidFields([...new Map(errors.map((error) => [error.field, error])).values()]) };
  };
}

function takesNothing(schema: z.ZodType): boolean {
  return schema.safeParse(undefined).success;
}

function fieldErrorsOf(issue: z.core.$ZodIssue, part = 'body'): FieldError[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ field: [...path, key].join('.'), message: 'unknown field' }));
  }
  return [{ field: path.join('.') || part, message: issue.message.replace(/^Invalid input: /, '') }];
}
