/**
 * Shapes of plain JSON, checked field by field: what IPC messages are held against at both ends. By hand and not by zod,
 * which serves everything that people write: it takes 9 MiB of each worker.
 */
export type Shape =
  | 'number'
  | 'string'
  | 'boolean'
  /** An object whose fields are not looked at. */
  | 'object'
  | { readonly listOf: Shape }
  | { readonly nullOr: Shape }
  /** An object with exactly these fields. */
  | { readonly fields: Readonly<Record<string, Shape>> };

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
