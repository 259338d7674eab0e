/** What is wrong with a field of a request, in the words that `sluice check` has for the configuration. */
import type * as z from 'zod';

/** By what the schema expects. */
const NOUNS: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
};

/**
 * sentenceOf says what the field must be; the error map of app.ts. undefined where the library's own words have to do; a
 * sentence of the schema's own wins over both.
 */
export function sentenceOf(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'too_small') return boundSentence('at least', issue.origin, issue.minimum);
  if (issue.code === 'too_big') return boundSentence('at most', issue.origin, issue.maximum);
  if (issue.code === 'invalid_value') return `must be one of ${issue.values.map(String).join(', ')}`;
  if (issue.code !== 'invalid_type') return undefined;
  if (issue.input === undefined) return 'is missing';
  const noun = NOUNS[issue.expected];
  return noun === undefined ? undefined : `must be ${noun}`;
}

function boundSentence(word: string, origin: string, bound: number | bigint): string {
  return origin === 'string' ? `must have ${word} ${bound} characters` : `must be ${word} ${bound}`;
}
