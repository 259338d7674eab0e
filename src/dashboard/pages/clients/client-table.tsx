import type { JSX } from 'preact';
import type { Client, Mode } from '../../api/answers.ts';
import { agoOf, numberOf } from '../../parts/format.ts';
import { Status, type Tone } from '../../parts/status.tsx';
import { Table } from '../../parts/table.tsx';

/** How the modes are shown. */
export const MODES: Record<Mode, { tone: Tone; word: string }> = {
  limit: { tone: 'quiet', word: 'limited' },
  unlimited: { tone: 'ok', word: 'unlimited' },
  blocked: { tone: 'bad', word: 'blocked' },
};

interface ClientTableProps {
  rows: readonly Client[];
  onOpen(clientId: string): void;
}

export function ClientTable({ rows, onOpen }: ClientTableProps): JSX.Element {
  return (
    <Table
      caption="Clients"
      rows={rows}
      keyOf={({ clientId }) => clientId}
      empty="There is no such client."
      columns={[
        {
          title: 'Client',
          wide: true,
          cell: ({ clientId }) => (
            <button type="button" class="link" onClick={() => onOpen(clientId)}>
              {clientId}
            </button>
          ),
        },
        { title: 'Mode', cell: ({ mode }) => <Status {...MODES[mode]} /> },
        { title: 'Capacity', number: true, cell: ({ capacity }) => limitOf(capacity) },
        { title: 'Refill per s', number: true, cell: ({ refillPerSecond }) => limitOf(refillPerSecond) },
        { title: 'Other policies', wide: true, cell: ({ limits }) => Object.keys(limits).join(', ') || '–' },
        { title: 'Last seen', number: true, cell: ({ lastSeenAt }) => agoOf(lastSeenAt) },
      ]}
    />
  );
}

function limitOf(value: number | null): JSX.Element | string {
  return value === null ? <span class="hint">as policy</span> : numberOf(value);
}
