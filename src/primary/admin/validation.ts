/** Checks requests with the zod schemas of the routes; the messages are worded like those of `sluice check`. */
import type * as z from 'zod';
import { type FieldError, HttpProblem, invalidFields } from './problems.ts';

/** compileValidator is for the framework. An absent body is malformed (400); any other mistake names its fields (422). */
export function compileValidator({ schema, httpPart }: { schema: z.ZodType; httpPart?: string | undefined }) {
  return (data: unknown): { value: unknown } | { error: Error } => {
    const isAbsent = data === undefined || data === null;
    if (httpPart === 'body' && isAbsent && !schema.safeParse(undefined).success) {
      return { error: new HttpProblem(400, 'a JSON body is needed') };
    }
    const result = schema.safeParse(data ?? undefined, { error: messageOf });
    if (result.success) return { value: result.data };
    const errors = result.error.issues.flatMap((issue) => fieldErrorsOf(issue, httpPart));
    // One message per field: the last is the narrowest, because zod checks the range of an integer first.
    return { error: invalidFields([...new Map(errors.map((error) => [error.field, error])).values()]) };
  };
}

function fieldErrorsOf(issue: z.core.$ZodIssue, part = 'body'): FieldError[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ field: [...path, key].join('.'), message: 'unknown field' }));
  }
  return [{ field: path.join('.') || part, message: issue.message.replace(/^Invalid input: /, '') }];
}

/** By the type that the schema expects. */
const NOUNS: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
};

/** The error map for zod; undefined: zod's own message. A message in the schema wins over both. */
function messageOf(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'too_small') return boundMessage('at least', issue.origin, issue.minimum);
  if (issue.code === 'too_big') return boundMessage('at most', issue.origin, issue.maximum);
  if (issue.code === 'invalid_value') return `must be one of ${issue.values.map(String).join(', ')}`;
  if (issue.code !== 'invalid_type') return undefined;
  if (issue.input === undefined) return 'is missing';
  const noun = NOUNS[issue.expected];
  return noun === undefined ? undefined : `must be ${noun}`;
}

function boundMessage(word: string, origin: string, bound: number | bigint): string {
  return origin === 'string' ? `must have ${word} ${bound} characters` : `must be ${word} ${bound}`;
}
