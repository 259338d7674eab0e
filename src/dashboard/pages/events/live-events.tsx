import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Change } from '../../api/answers.ts';
import { changes } from '../../api/feed.ts';
import { useStore } from '../../api/store.ts';
import { Filter } from '../../parts/filter.tsx';
import { EventTable, KindField, whoOf } from './event-table.tsx';

/** LiveEvents has what has changed, as it changes: states, reloads, workers, admin calls. */
export function LiveEvents(): JSX.Element {
  const known = useStore(changes);
  const [kind, setKind] = useState('');
  const [filter, setFilter] = useState('');
  const kinds = [...new Set(known.map((change) => change.kind))].sort();
  const wanted = filter.trim().toLowerCase();
  const rows = known.filter(
    (change) => (kind === '' || change.kind === kind) && textOf(change).toLowerCase().includes(wanted),
  );
  return (
    <>
      <div class="fields">
        <KindField kinds={kinds} value={kind} onChange={setKind} />
        <Filter label="Show events with" value={filter} onInput={setFilter} placeholder="any words" />
      </div>
      <EventTable
        rows={rows}
        empty={known.length === 0 ? 'Nothing has happened since Sluice started.' : 'No event matches.'}
      />
    </>
  );
}

function textOf(change: Change): string {
  return `${change.text} ${change.subject ?? ''} ${whoOf(change)} ${change.severity}`;
}
