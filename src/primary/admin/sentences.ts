/** Error messages for fields of a request, in the words of `sluice check`. */
import type * as z from 'zod';

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

/**
 * sentenceOf is zod's error map for requests: what the field must be, or undefined for the library's own message. A message
 * in the schema wins over both.
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
