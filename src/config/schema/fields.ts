/**
 * Builders for the keys of the schema. Each makes a zod type with its default, range and error message, and registers what
 * docs/configuration.md says about the key.
 */
import { z } from 'zod';
import type { Parsed } from './addresses.ts';

/** FieldInfo is what docs/configuration.md says about a key, and messages of its own. */
export interface FieldInfo {
  /** Kind of value in a word or two. */
  type: string;
  meaning: string;
  /** Accepted values, where `type` does not say them. */
  range?: string | undefined;
  /** Default in words, where the schema has none or has it in another form than the file. */
  fallback?: string | undefined;
  /** First version that accepts the key; absent: that of the key above it. */
  since?: string | undefined;
  /** Values of features to come, which this version refuses with a message of their own. */
  coming?: readonly unknown[] | undefined;
  /** The message for an empty list or mapping; absent: it may be empty. */
  none?: string;
}

export const fieldInfo = z.registry<FieldInfo>();

/** described registers what the page says about a key, and returns the key's type. */
export function described<T extends z.ZodType>(schema: T, info: FieldInfo): T {
  fieldInfo.add(schema, info);
  return schema;
}

const NOT_SUPPORTED = 'not supported in this version';

/** saying is zod's error option: one message for every mistake but a missing key and a value of a feature to come. */
export function saying(message: string, coming: readonly unknown[] = []) {
  const error = ({ input }: { input?: unknown }): string => {
    if (coming.includes(input)) return `${String(input)} is ${NOT_SUPPORTED}`;
    return input === undefined ? 'is missing' : message;
  };
  return { error };
}

/** LATER is the `type` of a key that `later` made; its `range` says which values are accepted. */
export const LATER = 'later';

/** later makes a key of a feature to come. @param accepts the values that ask for what this version does anyway */
export function later(meaning: string, ...accepts: unknown[]) {
  const accepted = z.custom((value) => accepts.includes(value), NOT_SUPPORTED).transform(() => undefined);
  return described(accepted, { type: LATER, meaning, range: accepts.join(', ') }).optional();
}

/** parsedBy adds a parser. */
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

const DURATION = {
  type: 'duration',
  form: 'written like 250ms, 2s, 1m or 1h',
  units: { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 },
};
const SIZE = {
  type: 'size',
  form: 'written like 16KiB, 1MiB or a number of bytes',
  units: { '': 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 },
};

/** duration makes a key in milliseconds, written `250ms`, `2s`, `1m`, `1h`, `1d` or 0. */
export function duration(fallback: string, range: Range<string>, meaning: string, since?: string) {
  return quantity(DURATION, range, { meaning, since }).prefault(fallback);
}

/** size makes a key in bytes, written `16KiB`, `1MiB` or as a number of bytes. */
export function size(fallback: string, range: Range<string>, meaning: string) {
  return quantity(SIZE, range, { meaning }).prefault(fallback);
}

function quantity(
  { type, form, units }: typeof DURATION | typeof SIZE,
  [min, max]: Range<string>,
  info: Pick<FieldInfo, 'meaning' | 'since'>,
) {
  const message = `must be a ${type} from ${min} to ${max}, ${form}`;
  const schema = parsedBy(z.union([z.string(), z.number()], saying(message)), (raw): Parsed<number> => {
    const value = inUnits(raw, units);
    return value >= inUnits(min, units) && value <= inUnits(max, units) ? { value } : { message };
  });
  return described(schema, { type, ...info, range: `${min} … ${max}` });
}

/** NaN: not of this form. A 0 needs no unit. */
function inUnits(raw: string | number, units: Readonly<Record<string, number>>): number {
  const [, digits, unit = ''] = /^(\d{1,15})([A-Za-z]*)$/.exec(String(raw)) ?? [];
  const count = Number(digits);
  return count === 0 && unit === '' ? 0 : count * (units[unit] ?? Number.NaN);
}

/** integer makes a whole number. */
export function integer(fallback: number, [min, max]: Range<number>, meaning: string, since?: string) {
  const said = saying(`must be a whole number from ${min} to ${max}`);
  const info = { type: 'integer', meaning, range: `${min} … ${max}`, since };
  return described(whole(min, max, said), info).prefault(fallback);
}

/** integerOrAuto makes a whole number or the word `auto`, the default. @param auto what `auto` means */
export function integerOrAuto([min, max]: Range<number>, meaning: string, auto: string) {
  const said = saying(`must be auto or a whole number from ${min} to ${max}`);
  const schema = z.union([z.literal('auto'), whole(min, max, said)], said);
  const range = `${min} … ${max}; auto: ${auto}`;
  return described(schema, { type: 'integer or `auto`', meaning, range }).prefault('auto');
}

function whole(min: number, max: number, said: ReturnType<typeof saying>) {
  return z.number(said).refine((value) => Number.isInteger(value) && value >= min && value <= max, said);
}

/** decimal makes a number with a fraction. */
export function decimal(fallback: number, [min, max]: Range<number>, meaning: string) {
  const message = `must be a number from ${min} to ${max}`;
  const schema = z.number(saying(message)).min(min, message).max(max, message);
  return described(schema, { type: 'number', meaning, range: `${min} … ${max}` }).prefault(fallback);
}

/** flag makes a boolean. */
export function flag(fallback: boolean, meaning: string, since?: string) {
  const schema = z.boolean(saying('must be true or false'));
  return described(schema, { type: 'boolean', meaning, since }).default(fallback);
}

/** flagOrAbsent makes a boolean whose default depends on other keys. @param fallback the default in words */
export function flagOrAbsent(meaning: string, fallback: string, since?: string) {
  const schema = z.boolean(saying('must be true or false'));
  return described(schema, { type: 'boolean', meaning, fallback, since }).optional();
}

/** choice makes one of several words. The first is the default. */
export function choice<const Value extends string>(
  values: readonly [Value, ...Value[]],
  meaning: string,
  coming?: string[],
  since?: string,
) {
  const range = values.join(', ');
  const words = z.literal<Value[]>([...values], saying(`must be one of ${range}`, coming));
  described(words, { type: 'word', meaning, range, coming, since });
  return z.prefault(words, values[0] as never) as z.ZodPrefault<z.ZodLiteral<Value>>;
}

type TextInfo = Pick<FieldInfo, 'range' | 'fallback' | 'since'>;

/** text makes a text with a parser, required unless made optional. @param notText the message for a value that is not text */
export function text<Value>(
  type: string,
  meaning: string,
  parse: (text: string) => Parsed<Value>,
  { notText = 'must be text', ...info }: TextInfo & { notText?: string } = {},
) {
  return described(parsedBy(z.string(saying(notText)), parse), { type, meaning, ...info });
}

/** textOrNone makes a text where null and '' mean none; the parser never gets them. */
export function textOrNone<Value>(
  type: string,
  meaning: string,
  parse: (text: string) => Parsed<Value>,
  info: TextInfo,
) {
  const input = z.string(saying('must be text')).nullable();
  const schema = parsedBy(input, (raw): Parsed<Value | null> => (raw ? parse(raw) : { value: null }));
  return described(schema, { type, meaning, ...info }).prefault('');
}

/** matching makes a parser of text that fits a pattern. */
export function matching(pattern: RegExp, message: string): (text: string) => Parsed<string> {
  return (raw) => (pattern.test(raw) ? { value: raw } : { message });
}

/** parsePath reads the path of a file or folder. */
export const parsePath = matching(/^[^\0]{1,4096}$/, 'must be a path');

/** pemPath makes the path of a PEM file, required. */
export function pemPath(meaning: string) {
  return text('path', `PEM file. ${meaning}`, parsePath);
}

/** pemPathOrNone makes the path of a PEM file that may be absent. @param fallback the default in words */
export function pemPathOrNone(meaning: string, fallback = 'none') {
  return textOrNone('path', `PEM file. ${meaning}`, parsePath, { fallback });
}

export const NAME_MESSAGE = 'must be a name of 1–64 of A–Z a–z 0–9 . _ -';
/** parseName reads names of pools, routes and policies: metric labels, parts of Redis keys, words in header fields. */
export const parseName = matching(/^[A-Za-z0-9._-]{1,64}$/, NAME_MESSAGE);

/** name makes a name of a pool, route or policy. */
export function name(meaning: string, range = '1–64 of `A–Z a–z 0–9 . _ -`', parse = parseName) {
  return text('name', meaning, parse, { range, notText: NAME_MESSAGE });
}

/** list makes a list. */
export function list<Item extends z.ZodType>(item: Item, info: FieldInfo) {
  const schema = z.array(item, saying('must be a list'));
  return described(info.none === undefined ? schema : schema.min(1, info.none), info);
}

/** block makes a mapping that knows all its keys; for an unknown key the message says which one was probably meant. */
export function block<Shape extends z.core.$ZodShape>(meaning: string, shape: Shape, since?: string) {
  const unknownKey = z.custom(() => false, {
    error: ({ path = [] }) => `unknown key${suggestionFor(String(path.at(-1)), Object.keys(shape))}`,
  });
  const schema = z.object(shape, saying('must be a mapping')).catchall(unknownKey);
  // No unknown key passes, so the type need not allow for any.
  const strict = schema as unknown as z.ZodObject<Shape, z.core.$strict>;
  return described(strict, { type: 'mapping', meaning, since });
}

/** byName makes a mapping from names that the file chooses. checks.ts checks the names. */
export function byName<Item extends z.ZodType>(item: Item, info: Omit<FieldInfo, 'type'>) {
  const schema = z
    .record(z.string(), item, saying('must be a mapping'))
    .refine((items) => info.none === undefined || Object.keys(items).length > 0, info.none ?? '');
  return described(schema, { type: 'mapping by name', ...info });
}

const MAX_COMPARED_LENGTH = 40;

/** suggestionFor is `, did you mean KEY?`, or '' where no known key is near. */
function suggestionFor(given: string, known: readonly string[]): string {
  if (given.length > MAX_COMPARED_LENGTH) return '';
  const near = known.find(
    (key) => editDistance(given.toLowerCase(), key.toLowerCase()) <= (key.length <= 4 ? 1 : 2),
  );
  return near === undefined ? '' : `, did you mean ${near}?`;
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
