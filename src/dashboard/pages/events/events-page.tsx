/** What has changed: states, reloads, workers, admin calls. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Change } from '../../api/answers.ts';
import { changes } from '../../api/feed.ts';
import { useStore } from '../../api/store.ts';
import { Filter } from '../../parts/filter.tsx';
import { clockOf } from '../../parts/format.ts';
import { Status, type Tone } from '../../parts/status.tsx';
import { Table } from '../../parts/table.tsx';

const TONES: Record<string, Tone> = { error: 'bad', warning: 'warn', warn: 'warn', info: 'quiet' };
const ALL = 'all';

export function EventsPage(): JSX.Element {
  const known = useStore(changes);
  const [kind, setKind] = useState(ALL);
  const [filter, setFilter] = useState('');
  const kinds = [...new Set(known.map((change) => change.kind))].sort();
  const wanted = filter.trim().toLowerCase();
  const rows = known.filter(
    (change) => (kind === ALL || change.kind === kind) && textOf(change).toLowerCase().includes(wanted),
  );
  return (
    <>
      <div class="fields">
        <label class="field">
          Kind
          <select value={kind} onChange={({ currentTarget }) => setKind(currentTarget.value)}>
            {[ALL, ...kinds].map((each) => (
              <option key={each} value={each}>
                {each.replaceAll('_', ' ')}
              </option>
            ))}
          </select>
        </label>
        <Filter label="Show events with" value={filter} onInput={setFilter} placeholder="any words" />
      </div>
      <Table
        caption="Events, the newest first"
        rows={rows}
        keyOf={({ at, number }) => `${at} ${number}`}
        empty={known.length === 0 ? 'Nothing has happened since Sluice started.' : 'No event matches.'}
        columns={[
          { title: 'Time', cell: ({ at }) => <time dateTime={at}>{clockOf(at)}</time> },
          { title: 'Kind', cell: ({ kind: word }) => word.replaceAll('_', ' ') },
          {
            title: 'Severity',
            cell: ({ severity }) => <Status tone={TONES[severity] ?? 'quiet'} word={severity} />,
          },
          { title: 'What', wide: true, cell: ({ text }) => text },
          { title: 'Who', wide: true, cell: whoOf },
        ]}
      />
    </>
  );
}

function whoOf({ actor }: Change): string {
  if (actor === null) return '–';
  return actor.who === 'none' ? actor.from : `${actor.who} from ${actor.from}`;
}

function textOf(change: Change): string {
  return `${change.text} ${change.subject ?? ''} ${whoOf(change)} ${change.severity}`;
}
