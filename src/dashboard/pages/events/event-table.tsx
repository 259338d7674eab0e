import type { JSX } from 'preact';
import type { AuditEntry, Change } from '../../api/answers.ts';
import { clockOf } from '../../parts/format.ts';
import { Status } from '../../parts/status.tsx';
import { type Column, Table } from '../../parts/table.tsx';
import { yamlOf } from '../config/yaml-text.ts';

/** Of the audit, with the machine. */
type Row = Change & Partial<AuditEntry>;

interface EventTableProps {
  rows: readonly Row[];
  empty: string;
  hasMachines?: boolean;
}

/** EventTable is of both views: what happened, who did it, and the facts where somebody opens them. */
export function EventTable({ rows, empty, hasMachines = false }: EventTableProps): JSX.Element {
  const machine: Column<Row> = { title: 'Machine', wide: true, cell: ({ instance }) => instance };
  return (
    <Table
      caption="Events, the newest first"
      rows={rows}
      keyOf={({ at, number, instance = '' }) => `${at} ${number} ${instance}`}
      empty={empty}
      columns={[
        { title: 'Time', cell: ({ at }) => <time dateTime={at}>{clockOf(at)}</time> },
        ...(hasMachines ? [machine] : []),
        { title: 'Kind', cell: ({ kind }) => wordOf(kind) },
        {
          title: 'Severity',
          cell: ({ severity }) => <Status word={severity} />,
        },
        { title: 'What', wide: true, cell: whatOf },
        { title: 'Who', wide: true, cell: whoOf },
      ]}
    />
  );
}

function whatOf({ text, data }: Change): JSX.Element {
  return (
    <>
      {text}
      {Object.keys(data).length > 0 && (
        <details>
          <summary>Facts</summary>
          <pre>{yamlOf(data)}</pre>
        </details>
      )}
    </>
  );
}

export function whoOf({ actor }: Change): string {
  if (actor === null) return '–';
  return actor.who === 'none' ? actor.from : `${actor.who} from ${actor.from}`;
}

function wordOf(kind: string): string {
  return kind.replaceAll('_', ' ');
}

interface KindFieldProps {
  kinds: readonly string[];
  /** Empty: all. */
  value: string;
  onChange(kind: string): void;
}

export function KindField({ kinds, value, onChange }: KindFieldProps): JSX.Element {
  return (
    <label class="field">
      Kind
      <select value={value} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
        <option value="">all</option>
        {kinds.map((kind) => (
          <option key={kind} value={kind}>
            {wordOf(kind)}
          </option>
        ))}
      </select>
    </label>
  );
}
