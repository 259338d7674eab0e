import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Client, Mode, WrittenClient } from '../../api/answers.ts';
import { call, ifMatch, isChanged } from '../../api/call.ts';
import { useMayWrite } from '../../api/session.ts';
import { useConfig } from '../../parts/answer.tsx';
import { Failure } from '../../parts/failure.tsx';
import { lateWorkers } from '../../parts/format.ts';
import { pathOfClient } from './client-path.ts';
import { MODES } from './client-table.tsx';
import { bodyOf, changesOf, type Draft, draftOf } from './draft.ts';
import { LimitFields } from './limit-fields.tsx';

interface ClientFormProps {
  /** null: the client is made. */
  client: Client | null;
  suggested: string;
  /** Shown beside the button. */
  note: string;
  /** @param note to be shown */
  onNote(note: string): void;
  onSaved(): void;
  /** Called with what the form goes on from, once it was saved or loaded. */
  onShown?(client: Client): void;
}

export function ClientForm(props: ClientFormProps): JSX.Element {
  const { client, suggested, note, onNote, onSaved, onShown } = props;
  const mayWrite = useMayWrite();
  const config = useConfig().answer;
  /** What the draft was made from: where somebody else has changed it since, nothing is saved. */
  const [base, setBase] = useState(client);
  const [draft, setDraft] = useState<Draft>(() => draftOf(client, suggested));
  const [failure, setFailure] = useState<unknown>(null);
  const policies = config === null ? {} : config.rateLimit.policies;
  const show = (found: Client): void => {
    setBase(found);
    setDraft(draftOf(found, suggested));
    onShown?.(found);
  };
  const load = async (path: string): Promise<void> => {
    try {
      show(await call<Client>(path));
      setFailure(null);
    } catch (error) {
      setFailure(error);
    }
  };
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setFailure(null);
    onNote('');
    try {
      let written: WrittenClient;
      if (base === null) {
        const body = { ...bodyOf(draft), clientId: draft.clientId.trim() };
        written = await call<WrittenClient>('/api/v1/clients', { method: 'POST', body });
      } else {
        const body = changesOf(base, draft);
        const headers = ifMatch(base);
        written = await call<WrittenClient>(pathOfClient(base.clientId), { method: 'PATCH', body, headers });
        show(written);
      }
      onNote(`Saved${lateWorkers(written.pendingWorkers) ?? ': every worker knows it.'}`);
      onSaved();
    } catch (error) {
      setFailure(error);
    }
  };
  const change = (part: Partial<Draft>): void => {
    setDraft({ ...draft, ...part });
    onNote('');
  };
  return (
    <form onSubmit={(event) => void submit(event)}>
      <fieldset disabled={!mayWrite}>
        <legend class="unseen">Limits</legend>
        {client === null && <IdField draft={draft} onChange={change} />}
        <label class="field">
          Mode
          <select
            value={draft.mode}
            onChange={({ currentTarget }) => change({ mode: currentTarget.value as Mode })}
          >
            {Object.entries(MODES).map(([mode, { word }]) => (
              <option key={mode} value={mode}>
                {word}
              </option>
            ))}
          </select>
        </label>
        {draft.mode === 'limit' && <LimitFields draft={draft} policies={policies} onChange={change} />}
      </fieldset>
      <Failure of={failure} />
      {base !== null && isChanged(failure) && (
        <p class="hint">
          What you have typed is still here.{' '}
          <button type="button" onClick={() => void load(pathOfClient(base.clientId))}>
            Load the new state
          </button>{' '}
          in its place.
        </p>
      )}
      <div class="actions">
        <span role="status">{note}</span>
        <button class="primary" type="submit" disabled={!mayWrite}>
          {client === null ? 'Create' : 'Save'}
        </button>
      </div>
    </form>
  );
}

function IdField({ draft, onChange }: { draft: Draft; onChange(part: Partial<Draft>): void }): JSX.Element {
  return (
    <label class="field">
      Client
      <input
        value={draft.clientId}
        required
        maxLength={128}
        spellcheck={false}
        placeholder="a name, an address, or a range like 203.0.113.0/24"
        onInput={({ currentTarget }) => onChange({ clientId: currentTarget.value })}
      />
    </label>
  );
}
