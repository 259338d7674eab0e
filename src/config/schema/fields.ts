/**
 * Building bricks of the schema. Each makes a zod type that carries its own default, range and sentence, and notes in a
 * registry what the reference page says about it: one table for defaults, checks, messages and documentation.
 */
import { z } from 'zod';
import type { Parsed } from './addresses.ts';
import { parseDuration, parseSize } from './units.ts';

/** FieldInfo is what docs/configuration.md says about one key. */
export interface FieldInfo {
  /** Kind of value in a word or two. */
  type: string;
  meaning: string;
  /** Accepted values; '' where the type says it all. */
  range: string;
  /** Default in words, where the schema holds none or one that is not written like this in the file. */
  fallback?: string;
  /** First version that accepts the key. */
  since: string;
  /** Values known to the contract that a later version accepts. */
  laterValues?: Readonly<Record<string, string>>;
}

/** First version; everything in the schema without another mark. */
export const FIRST_VERSION = '0.1';
export const NOT_SUPPORTED = 'not supported in this version';

/** fieldInfo holds the FieldInfo of every type of the schema; read by scripts/config-docs.ts. */
export const fieldInfo = z.registry<FieldInfo>();

/** saying makes zod's error option: one sentence for every complaint but a missing key. */
export function saying(sentence: string): { error: (issue: { input?: unknown }) => string } {
  return { error: ({ input }) => (input === undefined ? 'is missing' : sentence) };
}

const numberOrText = (sentence: string) => z.union([z.string(), z.number()], saying(sentence));

interface RangedText {
  meaning: string;
  /** Written as in the file. */
  min: string;
  max: string;
  fallback: string;
  /** FIRST_VERSION unless given. */
  since?: string;
}

/** duration makes a key in milliseconds, written `250ms`, `2s`, `1m` or `1h`. */
export function duration({ meaning, min, max, fallback, since = FIRST_VERSION }: RangedText) {
  const least = parseDuration(min) ?? 0;
  const most = parseDuration(max) ?? 0;
  const sentence = `must be a duration from ${min} to ${max}, written like 250ms, 2s, 1m or 1h`;
  return numberOrText(sentence)
    .transform((raw, context) => {
      const valueMs = parseDuration(raw);
      if (valueMs !== null && valueMs >= least && valueMs <= most) return valueMs;
      context.addIssue({ code: 'custom', message: sentence });
      return z.NEVER;
    })
    .prefault(fallback)
    .register(fieldInfo, { type: 'duration', meaning, range: `${min} … ${max}`, since });
}

/** size makes a key in bytes, written `16KiB`, `1MiB` or as a number of bytes. */
export function size({ meaning, min, max, fallback, since = FIRST_VERSION }: RangedText) {
  const least = parseSize(min) ?? 0;
  const most = parseSize(max) ?? 0;
  const sentence = `must be a size from ${min} to ${max}, written like 16KiB, 1MiB or a number of bytes`;
  return numberOrText(sentence)
    .transform((raw, context) => {
      const valueBytes = parseSize(raw);
      if (valueBytes !== null && valueBytes >= least && valueBytes <= most) return valueBytes;
      context.addIssue({ code: 'custom', message: sentence });
      return z.NEVER;
    })
    .prefault(fallback)
    .register(fieldInfo, { type: 'size', meaning, range: `${min} … ${max}`, since });
}

interface RangedNumber {
  meaning: string;
  min: number;
  max: number;
  fallback: number;
}

/** integer makes a whole number. */
export function integer({
  meaning,
  min,
  max,
  fallback,
  ...shown
}: RangedNumber & Pick<Partial<FieldInfo>, 'range' | 'laterValues'>) {
  const sentence = `must be a whole number from ${min} to ${max}`;
  return z
    .number(saying(sentence))
    .refine((value) => Number.isInteger(value) && value >= min && value <= max, sentence)
    .prefault(fallback)
    .register(fieldInfo, {
      type: 'integer',
      meaning,
      range: `${min} … ${max}`,
      since: FIRST_VERSION,
      ...shown,
    });
}

/** decimal makes a number with a fraction. */
export function decimal({ meaning, min, max, fallback }: RangedNumber) {
  const sentence = `must be a number from ${min} to ${max}`;
  return z
    .number(saying(sentence))
    .refine((value) => value >= min && value <= max, sentence)
    .prefault(fallback)
    .register(fieldInfo, { type: 'number', meaning, range: `${min} … ${max}`, since: FIRST_VERSION });
}

/** integerOrAuto makes a whole number or the word `auto`, which is the default; `auto` says what that means. */
export function integerOrAuto({
  meaning,
  min,
  max,
  auto,
}: Omit<RangedNumber, 'fallback'> & { auto: string }) {
  const sentence = `must be auto or a whole number from ${min} to ${max}`;
  return z
    .union([z.literal('auto'), z.number()], saying(sentence))
    .refine(
      (value) => value === 'auto' || (Number.isInteger(value) && value >= min && value <= max),
      sentence,
    )
    .prefault('auto')
    .register(fieldInfo, {
      type: 'integer or `auto`',
      meaning,
      range: `${min} … ${max}; auto: ${auto}`,
      since: FIRST_VERSION,
    });
}

/** flag makes a boolean. */
export function flag({ meaning, fallback }: { meaning: string; fallback: boolean }) {
  return z
    .boolean(saying('must be true or false'))
    .default(fallback)
    .register(fieldInfo, { type: 'boolean', meaning, range: '', since: FIRST_VERSION });
}

interface Choice<Value extends string> {
  meaning: string;
  values: readonly [Value, ...Value[]];
  fallback: NoInfer<Value>;
  /** Values of later versions: word → version. */
  later?: Readonly<Record<string, string>>;
}

/** choice makes one of several words. */
export function choice<const Value extends string>({ meaning, values, fallback, later = {} }: Choice<Value>) {
  const sentence = values.length === 1 ? `must be ${values[0]}` : `must be one of ${values.join(', ')}`;
  const words: z.ZodLiteral<Value> = z.literal(values, {
    error: ({ input }) =>
      typeof input === 'string' && Object.hasOwn(later, input) ? `${input} is ${NOT_SUPPORTED}` : sentence,
  });
  const schema: z.ZodPrefault<z.ZodLiteral<Value>> = z.prefault(words, fallback);
  fieldInfo.add(schema, {
    type: 'word',
    meaning,
    range: values.join(', '),
    since: FIRST_VERSION,
    laterValues: later,
  });
  return schema;
}

interface Text<Value> extends Pick<FieldInfo, 'fallback' | 'laterValues'>, Partial<Pick<FieldInfo, 'since'>> {
  type: string;
  meaning: string;
  /** What is said when the value is no text at all. */
  sentence: string;
  range: string;
  parse: (text: string) => Parsed<Value>;
}

/** text makes a text with a parser of its own, required unless made optional. */
export function text<Value>({ sentence, parse, ...info }: Text<Value>) {
  return z
    .string(saying(sentence))
    .transform((raw, context): Value => {
      const parsed = parse(raw);
      if ('value' in parsed) return parsed.value;
      context.addIssue({ code: 'custom', message: parsed.message });
      return z.NEVER;
    })
    .register(fieldInfo, { since: FIRST_VERSION, ...info });
}

/** matching makes a parser of text that fits a pattern. */
export function matching(pattern: RegExp, message: string): (text: string) => Parsed<string> {
  return (raw) => (pattern.test(raw) ? { value: raw } : { message });
}

/** block makes a mapping that knows all its keys. @param since the first version that accepts it */
export function block<Shape extends z.core.$ZodShape>(shape: Shape, meaning: string, since = FIRST_VERSION) {
  return z
    .strictObject(shape, saying('must be a mapping'))
    .register(fieldInfo, { type: 'mapping', meaning, range: '', since });
}

/**
 * later makes a key of the contract that this version refuses, except for values that ask for what it does anyway
 * (contract, opening).
 */
export function later({
  since,
  meaning,
  accepts = [],
}: {
  since: string;
  meaning: string;
  accepts?: unknown[];
}) {
  return z
    .unknown()
    .refine((value) => value === undefined || accepts.includes(value), NOT_SUPPORTED)
    .optional()
    .register(fieldInfo, {
      type: '',
      meaning,
      range: accepts.map(String).join(', '),
      since,
    });
}
