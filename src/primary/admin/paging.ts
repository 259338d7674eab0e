/** The query and the shape of every list, and the opaque cursor `next` that asks for the following page. */
import * as z from 'zod';
import { invalidFields } from './problems.ts';

/** numberText is a whole number in a query. */
export function numberText<T extends z.ZodType>(number: T) {
  return z.preprocess(
    (raw) => (typeof raw === 'string' && /^\d{1,10}$/.test(raw) ? Number(raw) : raw),
    number,
  );
}

export const pageQuery = z.strictObject({
  limit: numberText(z.int().min(1).max(1000).default(100)),
  after: z.string().max(1024).optional().meta({ description: 'The `next` of the page before' }),
});

/** listOf is the shape of every list. `next` is the `after` of the next page, null on the last page. */
export function listOf<T extends z.ZodType>(item: T) {
  return z.strictObject({ items: z.array(item), next: z.string().nullable() });
}

/** listBody is the body of a list. @param page.next the id after which the next page starts; null: this is the last */
export function listBody<T>({ items, next }: { items: T[]; next: string | null }) {
  return { items, next: next && Buffer.from(next).toString('base64url') };
}

/**
 * pageOf reads the query; it refuses (422) an `after` that is not a cursor. The id in a cursor can be any text, because
 * someone may have written rows by hand.
 */
export function pageOf({ limit, after }: z.infer<typeof pageQuery>): { limit: number; after: string | null } {
  if (after === undefined) return { limit, after: null };
  const id = Buffer.from(after, 'base64url').toString('utf8');
  if (id === '' || id.includes('\0') || Buffer.from(id).toString('base64url') !== after) {
    throw invalidFields([{ field: 'after', message: 'is not the `next` of a page' }]);
  }
  return { limit, after: id };
}
