/**
 * Builders for the keys of the schema. Each makes a zod type with its default, range and error sentence, and registers
 * what the reference page says about the key, so that all of them come from one place.
 */
import { z } from 'zod';
import type { Parsed } from './addresses.ts';
import { suggestionFor } from './suggestions.ts';
import { parseDuration, parseSize } from './units.ts';

/** FieldInfo is what docs/configuration.md says about one key. */
export interface FieldInfo {
  /** Kind of value in a word or two. */
  type: string;
  meaning: string;
  /** Accepted values; '' where the type says it all. */
  range: string;
  /** Default in words, where the schema holds none or holds it in another form than the file. */
  fallback?: string;
  /** First version that accepts the key. */
  since: string;
  /** Values that only a later version accepts. */
  laterValues?: readonly string[];
}

const FIRST_VERSION = '0.1';
export const NOT_SUPPORTED = 'not supported in this version';

/** fieldInfo holds the FieldInfo of every key of the schema, for the script that writes docs/configuration.md. */
export const fieldInfo = z.registry<FieldInfo>();

/** describe registers what the reference page says about a key, and returns the key's type. */
export function describe<T extends z.ZodType>(
  schema: T,
  { range = '', since = FIRST_VERSION, ...info }: Pick<FieldInfo, 'type' | 'meaning'> & Partial<FieldInfo>,
): T {
  fieldInfo.add(schema, { range, since, ...info });
  return schema;
}

/** saying is zod's error option: one sentence for every mistake except a missing key. */
export function saying(sentence: string): { error: (issue: { input?: unknown }) => string } {
  return { error: ({ input }) => (input === undefined ? 'is missing' : sentence) };
}

/** parsedBy adds a parser that gives the value, or the sentence that says what is wrong with the input. */
export function parsedBy<In extends z.ZodType, Value>(
  input: In,
  parse: (raw: z.output<In>) => Parsed<Value>,
) {
  return input.transform((raw, context): Value => {
    const parsed = parse(raw);
    if ('value' in parsed) return parsed.value;
    context.addIssue({ code: 'custom', message: parsed.message });
    return z.NEVER;
  });
}

/** Lowest and highest value, written as in the file. */
type Range<Bound> = readonly [min: Bound, max: Bound];

/** duration makes a key in milliseconds, written `250ms`, `2s`, `1m` or `1h`. */
export function duration(fallback: string, range: Range<string>, meaning: string, since?: string) {
  const form = 'written like 250ms, 2s, 1m or 1h';
  return measured({ type: 'duration', form, parse: parseDuration, range, meaning, since }).prefault(fallback);
}

/** size makes a key in bytes, written `16KiB`, `1MiB` or as a number of bytes. */
export function size(fallback: string, range: Range<string>, meaning: string) {
  const form = 'written like 16KiB, 1MiB or a number of bytes';
  return measured({ type: 'size', form, parse: parseSize, range, meaning }).prefault(fallback);
}

interface Measured {
  type: string;
  form: string;
  parse: (raw: string | number) => number | null;
  range: Range<string>;
  meaning: string;
  since?: string | undefined;
}

function measured({ type, form, parse, range: [min, max], meaning, since = FIRST_VERSION }: Measured) {
  const [least, most] = [parse(min) ?? 0, parse(max) ?? 0];
  const message = `must be a ${type} from ${min} to ${max}, ${form}`;
  const schema = parsedBy(z.union([z.string(), z.number()], saying(message)), (raw): Parsed<number> => {
    const value = parse(raw);
    return value !== null && value >= least && value <= most ? { value } : { message };
  });
  return describe(schema, { type, meaning, range: `${min} … ${max}`, since });
}

/** integer makes a whole number. */
export function integer(fallback: number, [min, max]: Range<number>, meaning: string) {
  const sentence = `must be a whole number from ${min} to ${max}`;
  const schema = z
    .number(saying(sentence))
    .refine((value) => Number.isInteger(value) && value >= min && value <= max, sentence);
  return describe(schema, { type: 'integer', meaning, range: `${min} … ${max}` }).prefault(fallback);
}

/** decimal makes a number with a fraction. */
export function decimal(fallback: number, [min, max]: Range<number>, meaning: string) {
  const sentence = `must be a number from ${min} to ${max}`;
  const schema = z.number(saying(sentence)).refine((value) => value >= min && value <= max, sentence);
  return describe(schema, { type: 'number', meaning, range: `${min} … ${max}` }).prefault(fallback);
}

/** integerOrAuto makes a whole number or the word `auto`, the default. @param auto what `auto` means */
export function integerOrAuto([min, max]: Range<number>, meaning: string, auto: string) {
  const sentence = `must be auto or a whole number from ${min} to ${max}`;
  const schema = z
    .union([z.literal('auto'), z.number()], saying(sentence))
    .refine(
      (value) => value === 'auto' || (Number.isInteger(value) && value >= min && value <= max),
      sentence,
    );
  const range = `${min} … ${max}; auto: ${auto}`;
  return describe(schema, { type: 'integer or `auto`', meaning, range }).prefault('auto');
}

/** flag makes a boolean. */
export function flag(fallback: boolean, meaning: string) {
  return describe(z.boolean(saying('must be true or false')), { type: 'boolean', meaning }).default(fallback);
}

/** choice makes one of several words. @param later words that a later version accepts */
export function choice<const Value extends string>(
  fallback: NoInfer<Value>,
  values: readonly [Value, ...Value[]],
  meaning: string,
  later: readonly string[] = [],
): z.ZodPrefault<z.ZodLiteral<Value>> {
  const words = z.literal<Value[]>([...values], {
    error: ({ input }) =>
      later.some((word) => word === input)
        ? `${String(input)} is ${NOT_SUPPORTED}`
        : `must be one of ${values.join(', ')}`,
  });
  describe(words, { type: 'word', meaning, range: values.join(', '), laterValues: later });
  return z.prefault(words, fallback as never) as z.ZodPrefault<z.ZodLiteral<Value>>;
}

interface Text<Value> extends Partial<FieldInfo> {
  type: string;
  meaning: string;
  parse: (text: string) => Parsed<Value>;
  /** The error for a value that is no text. */
  sentence?: string;
}

/** text makes a text with a parser of its own, required unless made optional. */
export function text<Value>({ sentence = 'must be text', parse, ...info }: Text<Value>) {
  return describe(parsedBy(z.string(saying(sentence)), parse), info);
}

/** matching makes a parser of text that fits a pattern. */
export function matching(pattern: RegExp, message: string): (text: string) => Parsed<string> {
  return (raw) => (pattern.test(raw) ? { value: raw } : { message });
}

/** list makes a list; with `none` an empty one is refused by that sentence. */
export function list<Item extends z.ZodType>(item: Item, { none }: { none?: string } = {}) {
  const schema = z.array(item, saying('must be a list'));
  return none === undefined ? schema : schema.min(1, none);
}

/** block makes a mapping that knows all its keys; an unknown one is an error, with the key that was probably meant. */
export function block<Shape extends z.core.$ZodShape>(shape: Shape, meaning: string, since?: string) {
  const unknownKey = z.custom(() => false, {
    error: ({ path = [] }) => `unknown key${suggestionFor(String(path.at(-1)), Object.keys(shape))}`,
  });
  const schema = z.object(shape, saying('must be a mapping')).catchall(unknownKey);
  // No unknown key passes, so the type need not allow for any.
  const strict = schema as unknown as z.ZodObject<Shape, z.core.$strict>;
  return describe(strict, { type: 'mapping', meaning, ...(since === undefined ? {} : { since }) });
}

/** later makes a key that this version refuses, except for values that ask for what it does anyway. */
export function later(meaning: string, accepts: readonly unknown[] = []) {
  const schema = z
    .unknown()
    .refine((value) => value === undefined || accepts.includes(value), NOT_SUPPORTED)
    .optional();
  return describe(schema, { type: '', meaning, range: accepts.map(String).join(', '), since: 'later' });
}
