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
      <Answer of={first}>
        {(list) => <Pages key={`${settled} ${list.items.length}`} first={list} path={path} />}
      </Answer>
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

/** The first page and those that were asked for after it. */
function Pages({ first, path }: { first: List<Client>; path: string }): JSX.Element {
  const [more, setMore] = useState<{ items: Client[]; next: string | null } | null>(null);
  const { next } = more ?? first;
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  const add = async (): Promise<void> => {
    setBusy(true);
    try {
      const page = await call<List<Client>>(`${path}&after=${encodeURIComponent(next ?? '')}`);
      setMore({ items: [...(more?.items ?? []), ...page.items], next: page.next });
      setFailure(null);
    } catch (error) {
      setFailure(error);
    }
    setBusy(false);
  };
  const rows = [...first.items, ...(more?.items ?? [])];
  return (
    <>
      <ClientTable rows={rows} onOpen={openClient} />
      <Failure of={failure} />
      {next !== null && (
        <button type="button" disabled={busy} onClick={() => void add()}>
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
