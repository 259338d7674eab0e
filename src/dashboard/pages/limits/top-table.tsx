import type { JSX } from 'preact';
import type { Top } from '../../api/answers.ts';
import { percentOf, rateOf } from '../../parts/format.ts';
import { Table } from '../../parts/table.tsx';

interface TopTableProps {
  by: 'requests' | 'limited';
  top: Top;
  onOpen(client: string): void;
}

/** TopTable lists the heaviest callers of the last minute; each opens with its limits. */
export function TopTable({ by, top, onOpen }: TopTableProps): JSX.Element {
  const empty =
    by === 'limited'
      ? 'Nobody was limited in the last minute.'
      : 'Nobody has sent anything in the last minute.';
  return (
    <>
      <Table
        caption={by === 'limited' ? 'Callers that were limited most' : 'Callers that send most'}
        rows={top.items}
        keyOf={({ kind, client }) => `${kind} ${client}`}
        empty={empty}
        columns={[
          {
            title: 'Caller',
            wide: true,
            cell: ({ client }) => (
              <button type="button" class="link" onClick={() => onOpen(client)}>
                {client}
              </button>
            ),
          },
          { title: 'Requests/s', number: true, cell: ({ requestsPerSec }) => rateOf(requestsPerSec) },
          { title: 'Limited/s', number: true, cell: ({ limitedPerSec }) => rateOf(limitedPerSec) },
          { title: 'Share', number: true, cell: ({ share }) => percentOf(share) },
        ]}
      />
      {top.items.length > 0 && (
        <p class="hint">
          Means over {top.windowSec} s. All callers together: {rateOf(top.totalPerSec)}/s.
          {top.errorBoundPerSec > 0 &&
            ` A caller's rate may be up to ${rateOf(top.errorBoundPerSec)}/s higher than shown.`}
          {by === 'limited' && ' Requests/s may be higher than shown.'}
          {top.silentWorkers > 0 &&
            ` ${top.silentWorkers} workers did not answer: their requests are missing.`}
        </p>
      )}
    </>
  );
}
