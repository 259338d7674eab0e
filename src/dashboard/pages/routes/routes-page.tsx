/** The routes in their order, with what each gets; and which one a request would take. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { ConfigRoute } from '../../api/answers.ts';
import { sample } from '../../api/feed.ts';
import { useStore } from '../../api/store.ts';
import { Answer, useConfig } from '../../parts/answer.tsx';
import { Filter } from '../../parts/filter.tsx';
import { msOf, rateOf } from '../../parts/format.ts';
import { Status } from '../../parts/status.tsx';
import { Table } from '../../parts/table.tsx';
import { ExplainForm } from './explain-form.tsx';

export function RoutesPage(): JSX.Element {
  return (
    <>
      <h2>Which route would a request take?</h2>
      <ExplainForm />
      <h2>All routes</h2>
      <Answer of={useConfig()}>{({ routes }) => <RouteList routes={routes} />}</Answer>
    </>
  );
}

function RouteList({ routes }: { routes: readonly ConfigRoute[] }): JSX.Element {
  const [filter, setFilter] = useState('');
  const traffic = useStore(sample)?.routes ?? [];
  const byName = new Map(traffic.map((each) => [each.route, each]));
  const rows = routes
    .map((route, index) => ({ ...route, order: index + 1, traffic: byName.get(route.name) }))
    .filter((route) => `${route.name} ${matchOf(route)} ${goalOf(route)}`.includes(filter.trim()));
  return (
    <>
      <Filter
        label="Show routes with"
        value={filter}
        onInput={setFilter}
        placeholder="name, host, path or pool"
      />
      <Table
        caption="Routes, in the order in which they are tried"
        rows={rows}
        keyOf={({ name }) => name}
        empty={routes.length === 0 ? 'No route is configured.' : 'No route matches.'}
        columns={[
          { title: '#', number: true, cell: ({ order }) => order },
          { title: 'Route', wide: true, cell: (row) => nameOf(row, row.traffic?.hiddenBy ?? null) },
          { title: 'Takes', wide: true, cell: (route) => matchOf(route) },
          { title: 'To', wide: true, cell: (route) => goalOf(route) },
          { title: 'Limit', wide: true, cell: ({ rateLimit }) => limitOf(rateLimit) },
          { title: 'Requests/s', number: true, cell: (row) => rateOf(row.traffic?.requestsPerSec ?? 0) },
          { title: 'Errors/s', number: true, cell: (row) => rateOf(row.traffic?.errorsPerSec ?? 0) },
          { title: 'p99', number: true, cell: (row) => msOf(row.traffic?.p99Ms) },
        ]}
      />
    </>
  );
}

function nameOf({ name, priority }: ConfigRoute, hiddenBy: string | null): JSX.Element {
  return (
    <>
      {name} {priority !== undefined && priority !== 'normal' && <span class="tag">{priority}</span>}
      {hiddenBy !== null && <Status tone="warn" word={`never reached: ${hiddenBy}`} />}
    </>
  );
}

function matchOf({ match: { methods, host, path } }: ConfigRoute): string {
  const where = `${host ?? ''}${path === undefined ? '' : path.endsWith('/') ? `${path}…` : path}`;
  return [methods?.join(' '), where].filter(Boolean).join(' ') || 'everything';
}

function goalOf({ pool, redirect }: ConfigRoute): string {
  return redirect === undefined ? (pool ?? '') : `${redirect.scheme} (${redirect.status})`;
}

function limitOf(rateLimit: ConfigRoute['rateLimit']): string {
  if (rateLimit === 'off') return 'off';
  const names = [rateLimit.policy].flat().join(', ');
  return rateLimit.cost === 1 ? names : `${names}, cost ${rateLimit.cost}`;
}
