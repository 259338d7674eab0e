/** The live buckets of a client, or of the callers at an address. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Bucket } from '../../api/answers.ts';
import { call, messageOf } from '../../api/call.ts';
import { useMayWrite } from '../../api/session.ts';
import { useAnswer } from '../../parts/answer.tsx';
import { msOf, numberOf } from '../../parts/format.ts';
import { Table } from '../../parts/table.tsx';
import { pathOfClient } from './client-path.ts';

const EVERY_MS = 1_000;

export function Buckets({ clientId }: { clientId: string }): JSX.Element {
  const path = `${pathOfClient(clientId)}/bucket`;
  const { answer, failure, reload } = useAnswer<{ bucketName: string; items: Bucket[] }>(path, EVERY_MS);
  const mayWrite = useMayWrite();
  const [said, setSaid] = useState('');
  const reset = (): void => {
    call(`${path}/reset`, { method: 'POST' }).then(
      () => {
        setSaid('Filled.');
        reload();
      },
      (error: unknown) => setSaid(messageOf(error)),
    );
  };
  return (
    <section aria-label="Buckets">
      <h3>Buckets now</h3>
      {failure !== null && <p class="hint">{failure}</p>}
      {answer !== null && failure === null && (
        <>
          {answer.bucketName !== clientId && (
            <p class="hint">
              These are the buckets of <code>{answer.bucketName}</code>.
            </p>
          )}
          <Table
            caption={`Buckets of ${answer.bucketName}`}
            rows={answer.items}
            keyOf={({ policy }) => policy}
            empty="No policy limits it."
            columns={[
              { title: 'Policy', wide: true, cell: ({ policy }) => policy },
              { title: 'Level', cell: levelOf },
              { title: 'Capacity', number: true, cell: ({ capacity }) => numberOf(capacity) },
              {
                title: 'Refill per s',
                number: true,
                cell: ({ refillPerSecond }) => numberOf(refillPerSecond),
              },
              {
                title: 'Next token',
                number: true,
                cell: ({ nextTokenMs }) => (nextTokenMs === 0 ? 'now' : msOf(nextTokenMs)),
              },
            ]}
          />
          <div class="actions">
            <span role="status">{said}</span>
            <button type="button" disabled={!mayWrite} onClick={reset}>
              Fill the buckets
            </button>
          </div>
        </>
      )}
    </section>
  );
}

function levelOf({ policy, level, capacity }: Bucket): JSX.Element {
  const tokens = Math.floor(level);
  return (
    <span class="level">
      <meter min={0} max={capacity} low={capacity / 10} value={level} aria-label={`Level of ${policy}`}>
        {tokens}
      </meter>{' '}
      {numberOf(tokens)}
    </span>
  );
}
