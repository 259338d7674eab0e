import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { AuditEntry, Change, List } from '../../api/answers.ts';
import { Answer, useAnswer } from '../../parts/answer.tsx';
import { Filter, useSettled } from '../../parts/filter.tsx';
import { PAGE_ROWS, PagedList } from '../../parts/paged-list.tsx';
import { EventTable, KindField } from './event-table.tsx';

const KINDS = Object.keys({
  ...{ admin: true, reload: true, instance: true, worker: true, backend_state: true, panic: true },
  ...{ store: true, database: true, certificate: true },
} satisfies Record<Change['kind'], true>);

/** As GET /api/v1/audit names them; the times as the browser's field has them, in its time zone. Empty: any. */
interface Filters {
  kind: string;
  actor: string;
  subject: string;
  since: string;
  until: string;
}

const NONE: Filters = { kind: '', actor: '', subject: '', since: '', until: '' };

/** Audit asks the database, page by page. */
export function Audit(): JSX.Element {
  const [filters, setFilters] = useState(NONE);
  const path = useSettled(`/api/v1/audit?${queryOf(filters)}`);
  const first = useAnswer<List<AuditEntry>>(path);
  return (
    <>
      <AuditFilters value={filters} onChange={(part) => setFilters({ ...filters, ...part })} />
      <div class="actions left">
        <button type="button" onClick={first.reload}>
          Ask again
        </button>
        <button type="button" disabled={queryOf(filters) === queryOf(NONE)} onClick={() => setFilters(NONE)}>
          Clear the filters
        </button>
      </div>
      <Answer of={first}>
        {(list) => (
          <PagedList key={path} first={list} path={path}>
            {(rows) => <EventTable rows={rows} empty="No event matches." hasMachines />}
          </PagedList>
        )}
      </Answer>
    </>
  );
}

function queryOf({ since, until, ...texts }: Filters): string {
  const query = new URLSearchParams({ limit: String(PAGE_ROWS) });
  for (const [name, value] of Object.entries(texts)) if (value.trim() !== '') query.set(name, value.trim());
  for (const [name, value] of Object.entries({ since, until }))
    if (value !== '') query.set(name, new Date(value).toISOString());
  return String(query);
}

interface AuditFiltersProps {
  value: Filters;
  onChange(part: Partial<Filters>): void;
}

function AuditFilters({ value, onChange }: AuditFiltersProps): JSX.Element {
  return (
    <div class="fields">
      <KindField kinds={KINDS} value={value.kind} onChange={(kind) => onChange({ kind })} />
      <Filter
        label="Who"
        value={value.actor}
        onInput={(actor) => onChange({ actor })}
        placeholder="admin, an address"
      />
      <Filter
        label="About"
        value={value.subject}
        onInput={(subject) => onChange({ subject })}
        placeholder="client acme"
      />
      {(['since', 'until'] as const).map((name) => (
        <label key={name} class="field">
          {name === 'since' ? 'Since' : 'Until'}
          <input
            type="datetime-local"
            value={value[name]}
            onInput={({ currentTarget }) => onChange({ [name]: currentTarget.value })}
          />
        </label>
      ))}
    </div>
  );
}
