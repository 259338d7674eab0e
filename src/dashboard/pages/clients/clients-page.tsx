/** Clients by prefix, however many there are; each opens in a dialog. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Client, List } from '../../api/answers.ts';
import { useMayWrite } from '../../api/session.ts';
import { hrefOf } from '../../frame/place.ts';
import { Answer, useAnswer } from '../../parts/answer.tsx';
import { Filter, useSettled } from '../../parts/filter.tsx';
import { PAGE_ROWS, PagedList } from '../../parts/paged-list.tsx';
import { ClientDialog } from './client-dialog.tsx';
import { ClientTable } from './client-table.tsx';

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
        {(list) => (
          <PagedList key={path} first={list} path={path}>
            {(rows) => <ClientTable rows={rows} onOpen={openClient} />}
          </PagedList>
        )}
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
