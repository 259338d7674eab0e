/** Looking into the schema from outside: for suggestions, for what can be saved of a bad file, and for the reference page. */
import { z } from 'zod';
import type { KeyPath } from '../problems.ts';

/** isMapping narrows to a YAML mapping as parseYaml makes it. */
export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** unwrapped takes off defaults and optionality; of a union it takes the mapping, the only part with keys. */
export function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  ) {
    return unwrapped(schema.unwrap());
  }
  if (schema instanceof z.ZodUnion) {
    return schema.options.map(unwrapped).find((option) => option instanceof z.ZodObject) ?? schema;
  }
  return schema;
}

/** knownKeys lists the keys that the mapping at a path may have; empty where it is none or its keys are free. */
export function knownKeys(root: z.core.$ZodType, path: KeyPath): string[] {
  let schema = unwrapped(root);
  for (const part of path) {
    let child: z.core.$ZodType | undefined;
    if (schema instanceof z.ZodObject) child = schema.shape[part];
    else if (schema instanceof z.ZodRecord) child = schema.valueType;
    else if (schema instanceof z.ZodArray) child = schema.element;
    if (child === undefined) return [];
    schema = unwrapped(child);
  }
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

/** Draft is a value of which any part may be missing because it was wrong. */
export type Draft<T> = T extends (infer Item)[]
  ? (Draft<Item> | undefined)[]
  : T extends object
    ? { [Key in keyof T]?: Draft<T[Key]> }
    : T;

/**
 * salvage parses what is sound and leaves holes (undefined) elsewhere, so that rules about several keys can be checked
 * although some keys are wrong. Names of mappings by name are all kept.
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
  if (!isMapping(raw)) return undefined;
  if (inner instanceof z.ZodObject) {
    const keys = Object.keys(inner.shape);
    return Object.fromEntries(keys.map((key) => [key, salvageAny(inner.shape[key], raw[key])]));
  }
  if (inner instanceof z.ZodRecord) {
    return Object.fromEntries(Object.keys(raw).map((key) => [key, salvageAny(inner.valueType, raw[key])]));
  }
  return undefined;
}
