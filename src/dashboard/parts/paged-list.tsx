/** Lists of the admin port that come page by page. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { List } from '../api/answers.ts';
import { call } from '../api/call.ts';
import { Failure } from './failure.tsx';
import { numberOf } from './format.ts';

/** The `limit` of a page. */
export const PAGE_ROWS = 100;
/** The browser draws every row again for each page: 4,000 rows took it seconds. */
const MAX_PAGES = 10;

interface PagedListProps<T> {
  first: List<T>;
  /** Of the first page, with its query. Another path needs another key. */
  path: string;
  children(rows: T[]): JSX.Element;
}

/** PagedList shows the first page and those that were asked for after it, at most MAX_PAGES. Where the first one is another now, the others are asked for again. */
export function PagedList<T>({ first, path, children }: PagedListProps<T>): JSX.Element {
  const [wanted, setWanted] = useState(0);
  const [asked, setAsked] = useState<{ first: List<T>; pages: List<T>[] }>({ first, pages: [] });
  const [failure, setFailure] = useState<unknown>(null);
  const pages = [first, ...(asked.first === first ? asked.pages : [])];
  const next = pages.at(-1)?.next ?? null;
  const busy = failure === null && pages.length <= wanted && next !== null;
  useEffect(() => {
    if (!busy) return;
    const ended = new AbortController();
    call<List<T>>(`${path}&after=${encodeURIComponent(next)}`, { signal: ended.signal }).then(
      (page) => setAsked({ first, pages: [...pages.slice(1), page] }),
      (error) => ended.signal.aborted || setFailure(error),
    );
    return () => ended.abort();
  }, [busy, first, next]);
  const more = (): void => {
    setFailure(null);
    setWanted(pages.length);
  };
  return (
    <>
      {children(pages.flatMap(({ items }) => items))}
      <Failure of={failure} />
      {next !== null && pages.length === MAX_PAGES && (
        <p class="hint">
          The first {numberOf(MAX_PAGES * PAGE_ROWS)} are shown. Narrow the search to see others.
        </p>
      )}
      {next !== null && pages.length < MAX_PAGES && (
        <button type="button" disabled={busy} onClick={more}>
          Show {PAGE_ROWS} more
        </button>
      )}
    </>
  );
}
