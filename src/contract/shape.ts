/** Shapes of plain JSON: IPC messages are checked by them, and get their types from them. zod would take 9 MiB of each worker. */
export type Shape =
  | 'number'
  | 'string'
  | 'boolean'
  /** An object whose fields are not checked. */
  | 'object'
  | { readonly listOf: Shape }
  | { readonly nullOr: Shape }
  /** An object with exactly these fields. */
  | { readonly fields: Readonly<Record<string, Shape>> };

/** Typed is a shape whose values are taken for a T, which is narrower than what is checked. */
export type Typed<S extends Shape, T> = S & { readonly typed: T };

/** Fitting is the type of the values of a shape. */
export type Fitting<S> = S extends { readonly typed: infer T }
  ? T
  : S extends keyof Primitives
    ? Primitives[S]
    : S extends { readonly nullOr: infer E }
      ? Fitting<E> | null
      : S extends { readonly listOf: infer E }
        ? Fitting<E>[]
        : S extends { readonly fields: infer F }
          ? { -readonly [Name in keyof F]: Fitting<F[Name]> }
          : never;

interface Primitives {
  number: number;
  string: string;
  boolean: boolean;
}

/** fits tells whether a value has a shape. */
export function fits(shape: Shape, value: unknown): boolean {
  if (shape === 'number') return Number.isFinite(value);
  if (typeof shape === 'string') return typeof value === shape && value !== null;
  if ('nullOr' in shape) return value === null || fits(shape.nullOr, value);
  if ('listOf' in shape) return Array.isArray(value) && value.every((each) => fits(shape.listOf, each));
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const fields = Object.entries(shape.fields);
  const given = value as Record<string, unknown>;
  return (
    Object.keys(given).length === fields.length &&
    fields.every(([name, field]) => name in given && fits(field, given[name]))
  );
}
