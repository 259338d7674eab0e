/** Clients by prefix, however many there are; each opens in a dialog. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Client, List } from '../../api/answers.ts';
import { call } from '../../api/call.ts';
import { useMayWrite } from '../../api/session.ts';
import { hrefOf } from '../../frame/place.ts';
import { Answer, useAnswer } from '../../parts/answer.tsx';
import { Failure } from '../../parts/failure.tsx';
import { Filter } from '../../parts/filter.tsx';
import { ClientDialog } from './client-dialog.tsx';
import { ClientTable } from './client-table.tsx';

const PAGE_ROWS = 100;
/** After the last key: a search for each letter would be wasted. */
const SETTLE_MS = 200;
const NEW = ' new';

/** @param subject the client whose dialog is open; from a link */
export function ClientsPage({ subject }: { subject: string }): JSX.Element {
  const [prefix, setPrefix] = useState('');
  const settled = useSettled(prefix.trim());
  const mayWrite = useMayWrite();
  const path = `/api/v1/clients?limit=${PAGE_ROWS}&prefix=${encodeURIComponent(settled)}`;
  const first = useAnswer<List<Client>>(path);
  const close = (): void => {
    location.hash = hrefOf('clients');
    first.reload();
  };
  return (
    <>
      <div class="fields">
        <Filter
          label="Clients that begin with"
          value={prefix}
          onInput={setPrefix}
          placeholder="acme, 203.0.113."
        />
        <button type="button" class="primary" disabled={!mayWrite} onClick={() => openClient(NEW)}>
          New client
        </button>
      </div>
      <p class="hint">
        A client here has limits of its own, or none, or is blocked. Everybody else has those of the policies.
      </p>
      <Answer of={first}>{(list) => <Pages key={path} first={list} path={path} />}</Answer>
      {subject !== '' && (
        <ClientDialog
          key={subject}
          clientId={subject === NEW ? null : subject}
          suggested={prefix.trim()}
          onClose={close}
        />
      )}
    </>
  );
}

function openClient(clientId: string): void {
  location.hash = hrefOf('clients', clientId);
}

/** The first page and those that were asked for after it. Where the first one is another now, the others are asked for again. */
function Pages({ first, path }: { first: List<Client>; path: string }): JSX.Element {
  const [wanted, setWanted] = useState(0);
  const [asked, setAsked] = useState<{ first: List<Client>; pages: List<Client>[] }>({ first, pages: [] });
  const [failure, setFailure] = useState<unknown>(null);
  const pages = [first, ...(asked.first === first ? asked.pages : [])];
  const next = pages.at(-1)?.next ?? null;
  const busy = failure === null && pages.length <= wanted && next !== null;
  useEffect(() => {
    if (!busy) return;
    const ended = new AbortController();
    call<List<Client>>(`${path}&after=${encodeURIComponent(next)}`, { signal: ended.signal }).then(
      (page) => setAsked({ first, pages: [...pages.slice(1), page] }),
      (error) => ended.signal.aborted || setFailure(error),
    );
    return () => ended.abort();
  }, [busy, first, next]);
  return (
    <>
      <ClientTable rows={pages.flatMap(({ items }) => items)} onOpen={openClient} />
      <Failure of={failure} />
      {next !== null && (
        <button
          type="button"
          disabled={busy}
          onClick={() => {
            setFailure(null);
            setWanted(pages.length);
          }}
        >
          Show {PAGE_ROWS} more
        </button>
      )}
    </>
  );
}

function useSettled(value: string): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
