/** One client: its limits, its live buckets and its API keys. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Client } from '../../api/answers.ts';
import { call, ifMatch, isChanged, messageOf } from '../../api/call.ts';
import { useMayWrite } from '../../api/session.ts';
import { useAnswer } from '../../parts/answer.tsx';
import { Confirm, Dialog } from '../../parts/dialog.tsx';
import { agoOf } from '../../parts/format.ts';
import { Buckets } from './buckets.tsx';
import { ClientForm } from './client-form.tsx';
import { pathOfClient } from './client-path.ts';
import { Keys } from './keys.tsx';

interface ClientDialogProps {
  /** null: a new one is made. */
  clientId: string | null;
  /** The beginning of a new one's id. */
  suggested: string;
  onClose(): void;
}

export function ClientDialog({ clientId, suggested, onClose }: ClientDialogProps): JSX.Element {
  if (clientId === null)
    return (
      <Dialog title="New client" onClose={onClose}>
        <ClientForm client={null} suggested={suggested} note="" onNote={() => undefined} onSaved={onClose} />
      </Dialog>
    );
  return (
    <Dialog title={`Client ${clientId}`} onClose={onClose}>
      <Known clientId={clientId} onClose={onClose} />
    </Dialog>
  );
}

function Known({ clientId, onClose }: { clientId: string; onClose(): void }): JSX.Element {
  const { answer, failure, isMissing, reload } = useAnswer<Client>(pathOfClient(clientId));
  const mayWrite = useMayWrite();
  const [asking, setAsking] = useState(false);
  const [note, setNote] = useState('');
  /** What the form goes on from, which may be newer or older than the answer. null: the answer. */
  const [shown, setShown] = useState<Client | null>(null);
  // Somebody without a record, who came from a list of callers: the form makes one.
  const isUnknown = answer === null && isMissing;
  return (
    <>
      {isUnknown && <p class="hint">It has no limits of its own yet.</p>}
      {answer === null && !isUnknown && <p class="empty">{failure ?? 'Loading …'}</p>}
      {(answer !== null || isUnknown) && (
        <ClientForm
          key={String(isUnknown)}
          client={answer}
          suggested={clientId}
          note={note}
          onNote={setNote}
          onSaved={reload}
          onShown={setShown}
        />
      )}
      {answer?.lastSeenAt !== undefined && (
        <p class="hint">
          {answer.lastSeenAt === null
            ? 'No request of this client has come to this machine since its workers began.'
            : `Last request to this machine: ${agoOf(answer.lastSeenAt)}.`}
        </p>
      )}
      <Buckets clientId={clientId} />
      {answer !== null && (
        <>
          <Keys clientId={clientId} />
          <div class="actions">
            <button type="button" class="danger" disabled={!mayWrite} onClick={() => setAsking(true)}>
              Delete this client
            </button>
          </div>
        </>
      )}
      {asking && (
        <Confirm
          question={{
            title: `Delete ${clientId}`,
            verb: 'Delete',
            text: `${clientId} loses its own limits and all of its API keys. It is then limited like everybody else.`,
            run: async (isSure) => {
              try {
                const headers = isSure ? {} : ifMatch(shown ?? answer);
                await call(pathOfClient(clientId), { method: 'DELETE', headers });
              } catch (error) {
                if (isChanged(error)) return `${messageOf(error)} Delete it all the same?`;
                throw error;
              }
              onClose();
              return undefined;
            },
          }}
          onClose={() => setAsking(false)}
        />
      )}
    </>
  );
}
