/** The API keys of a client. A new one is shown once, to be copied. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { ApiKey, List } from '../../api/answers.ts';
import { call } from '../../api/call.ts';
import { useMayWrite } from '../../api/session.ts';
import { Answer, useAnswer } from '../../parts/answer.tsx';
import { Confirm, type Question } from '../../parts/dialog.tsx';
import { Failure } from '../../parts/failure.tsx';
import { dayOf } from '../../parts/format.ts';
import { Table } from '../../parts/table.tsx';
import { pathOfClient } from './client-path.ts';

export function Keys({ clientId }: { clientId: string }): JSX.Element {
  const path = `${pathOfClient(clientId)}/keys`;
  const keys = useAnswer<List<ApiKey>>(`${path}?limit=1000`);
  const [question, setQuestion] = useState<Question | null>(null);
  const mayWrite = useMayWrite();
  const revoke = ({ keyId, name }: ApiKey): Question => ({
    title: `Revoke ${name ?? keyId}`,
    verb: 'Revoke',
    text: 'Within a second nobody accepts this key any more. It cannot be brought back.',
    run: async () => {
      await call(`${path}/${encodeURIComponent(keyId)}`, { method: 'DELETE' });
      keys.reload();
    },
  });
  return (
    <section aria-label="API keys">
      <h3>API keys</h3>
      <NewKey path={path} onIssued={keys.reload} />
      <Answer of={keys}>
        {({ items }) => (
          <Table
            caption="API keys"
            rows={items}
            keyOf={({ keyId }) => keyId}
            empty="It has no key."
            columns={[
              { title: 'Name', wide: true, cell: ({ name }) => name ?? '–' },
              { title: 'Key', wide: true, cell: ({ keyId }) => <code>{keyId}</code> },
              { title: 'Issued', cell: ({ createdAt }) => dayOf(createdAt) },
              {
                title: 'Change',
                cell: (key) => (
                  <button
                    type="button"
                    disabled={!mayWrite}
                    aria-label={`Revoke ${key.name ?? key.keyId}`}
                    onClick={() => setQuestion(revoke(key))}
                  >
                    Revoke
                  </button>
                ),
              },
            ]}
          />
        )}
      </Answer>
      {question !== null && <Confirm question={question} onClose={() => setQuestion(null)} />}
    </section>
  );
}

function NewKey({ path, onIssued }: { path: string; onIssued(): void }): JSX.Element {
  const [name, setName] = useState('');
  const [issued, setIssued] = useState<string | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const mayWrite = useMayWrite();
  const issue = async (event: Event): Promise<void> => {
    event.preventDefault();
    setFailure(null);
    try {
      const { key } = await call<{ key: string }>(path, {
        method: 'POST',
        body: { name: name.trim() || null },
      });
      setIssued(key);
      setName('');
      onIssued();
    } catch (error) {
      setFailure(error);
    }
  };
  return (
    <form class="fields" onSubmit={(event) => void issue(event)}>
      <label class="field">
        Name of a new key
        <input
          value={name}
          maxLength={128}
          disabled={!mayWrite}
          onInput={({ currentTarget }) => setName(currentTarget.value)}
        />
      </label>
      <button type="submit" disabled={!mayWrite}>
        Issue a key
      </button>
      <Failure of={failure} />
      {issued !== null && <Issued key={issued} secret={issued} />}
    </form>
  );
}

function Issued({ secret }: { secret: string }): JSX.Element {
  const [word, setWord] = useState('Copy');
  const copy = (): void => {
    // Without a secure context there is no clipboard; the field can be selected.
    navigator.clipboard?.writeText(secret).then(
      () => setWord('Copied'),
      () => setWord('Select it and copy it'),
    ) ?? setWord('Select it and copy it');
  };
  return (
    <div class="issued" role="status">
      <p>This key is shown only now:</p>
      <input
        readOnly
        aria-label="The new API key"
        value={secret}
        onFocus={({ currentTarget }) => currentTarget.select()}
      />
      <button type="button" onClick={copy}>
        {word}
      </button>
    </div>
  );
}
