/** The query of every list, and the opaque cursor `next` that asks for the following page. */
import * as z from 'zod';
import { invalidFields } from './problems.ts';

export const pageQuery = z.strictObject({
  limit: z.preprocess(
    (raw) => (typeof raw === 'string' && /^\d{1,10}$/.test(raw) ? Number(raw) : raw),
    z.int().min(1).max(1000).default(100),
  ),
  after: z.string().max(1024).optional().meta({ description: 'The `next` of the page before' }),
});

interface Page<T> {
  items: T[];
  /** The id behind which the next page starts; null: this is the last. */
  next: string | null;
}

/** listBody is the answer of a list: items as they are shown, and the cursor. */
export function listBody<T, V>(page: Page<T>, viewOf: (item: T) => V): Page<V> {
  return { items: page.items.map(viewOf), next: page.next === null ? null : encodeCursor(page.next) };
}

/**
 * decodeCursor returns the last id of the page before, and refuses (422) anything that is not a cursor. Any text can be an
 * id here, not only those that this API accepts: rows written by hand must not break the list.
 */
export function decodeCursor(after: string | undefined): string | null {
  if (after === undefined) return null;
  const id = Buffer.from(after, 'base64url').toString('utf8');
  if (id === '' || id.includes('\0') || encodeCursor(id) !== after) {
    throw invalidFields([{ field: 'after', message: 'is not the `next` of a page' }]);
  }
  return id;
}

function encodeCursor(id: string): string {
  return Buffer.from(id, 'utf8').toString('base64url');
}
