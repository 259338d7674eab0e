/** Reads the schema and its issues from outside: for error messages, for rules over several keys, for the docs. */
import { z } from 'zod';
import type { ListenAddress } from '../../contract/settings.ts';
import type { Finding } from '../problems.ts';
import type { HostPort } from './addresses.ts';

/** isMapping narrows to a YAML mapping as parseYaml makes it. */
export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** unwrapped takes off defaults and optionality; of a union it takes the mapping, the only part with keys. */
export function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault)
    return unwrapped(schema.unwrap());
  if (schema instanceof z.ZodUnion) {
    return schema.options.map(unwrapped).find((option) => option instanceof z.ZodObject) ?? schema;
  }
  return schema;
}

/** findingsOf gives one message per key. Of a union it takes the option whose issues are all inside the value. */
export function findingsOf(issues: readonly z.core.$ZodIssue[], base: Finding['path'] = []): Finding[] {
  return issues.flatMap((issue) => {
    const path = [...base, ...issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part))];
    const meant =
      issue.code === 'invalid_union' &&
      issue.errors.find((option) => option.every((inner) => inner.path.length > 0));
    return meant ? findingsOf(meant, path) : [{ path, message: issue.message }];
  });
}

/** Draft is a value of which any part may be missing because it was wrong. Addresses are whole or missing. */
export type Draft<T> = T extends ListenAddress | HostPort
  ? T
  : T extends (infer Item)[]
    ? (Draft<Item> | undefined)[]
    : T extends object
      ? { [Key in keyof T]?: Draft<T[Key]> }
      : T;

/**
 * salvage parses what is sound and leaves the rest undefined, so that rules about several keys can be checked although
 * some keys are wrong. It keeps all names of mappings by name.
 */
export function salvage<Schema extends z.ZodType>(schema: Schema, raw: unknown): Draft<z.output<Schema>> {
  return salvageAny(schema, raw) as Draft<z.output<Schema>>;
}

function salvageAny(schema: z.core.$ZodType, raw: unknown): unknown {
  const parsed = z.safeParse(schema, raw);
  if (parsed.success) return parsed.data;
  const inner = unwrapped(schema);
  if (Array.isArray(raw)) {
    const list =
      inner instanceof z.ZodUnion ? inner.options.find((option) => option instanceof z.ZodArray) : inner;
    return list instanceof z.ZodArray ? raw.map((item) => salvageAny(list.element, item)) : undefined;
  }
  if (!isMapping(raw) || !(inner instanceof z.ZodObject || inner instanceof z.ZodRecord)) return undefined;
  const keys = inner instanceof z.ZodObject ? Object.keys(inner.shape) : Object.keys(raw);
  const schemaOf = (key: string) => (inner instanceof z.ZodObject ? inner.shape[key] : inner.valueType);
  return Object.fromEntries(keys.map((key) => [key, salvageAny(schemaOf(key), raw[key])]));
}
