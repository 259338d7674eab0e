/**
 * Shapes of plain JSON: IPC messages are checked against them, and their types derive from them. This is not zod, which checks
 * everything that people write, because zod takes 9 MiB of each worker.
 */
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

/** Typed is a shape for values of a type that is written down elsewhere; made by typed. */
export interface Typed<T> {
  readonly type: T;
}

/** typed declares that values of this shape are of type T; tsc does not compare the two. */
export function typed<T>(shape: Shape): Typed<T> {
  return shape as unknown as Typed<T>;
}

/** Fitting is the type of the values of a shape. */
export type Fitting<S> =
  S extends Typed<infer T>
    ? T
    : S extends 'number'
      ? number
      : S extends 'string'
        ? string
        : S extends 'boolean'
          ? boolean
          : S extends { readonly nullOr: infer E }
            ? Fitting<E> | null
            : S extends { readonly listOf: infer E }
              ? Fitting<E>[]
              : never;

/** fits tells whether a value has a shape. */
export function fits(shape: Shape, value: unknown): boolean {
  if (shape === 'number') return Number.isFinite(value);
  if (typeof shape === 'string') return typeof value === shape && value !== null;
  if ('nullOr' in shape) return value === null || fits(shape.nullOr, value);
  if ('listOf' in shape) return Array.isArray(value) && value.every((each) => fits(shape.listOf, each));
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const names = Object.keys(shape.fields);
  const given = value as Record<string, unknown>;
  return (
    Object.keys(given).length === names.length &&
    names.every((name) => name in given && fits(shape.fields[name] ?? 'object', given[name]))
  );
}
