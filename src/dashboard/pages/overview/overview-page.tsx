/** What is wrong now, the traffic of the last hour, and the workers. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Sample } from '../../api/answers.ts';
import { sample } from '../../api/feed.ts';
import { status } from '../../api/status.ts';
import { useStore } from '../../api/store.ts';
import { bytesOf, countOf, msOf, rateOf, spanSince } from '../../parts/format.ts';
import { Table } from '../../parts/table.tsx';
import { ProblemList } from './problem-list.tsx';
import { TrafficCharts, WorkerCharts } from './traffic-charts.tsx';
import { WorkerTable } from './worker-table.tsx';

const WINDOWS = [
  { sec: 300, word: '5 min' },
  { sec: 900, word: '15 min' },
  { sec: 3_600, word: '1 h' },
] as const;

export function OverviewPage(): JSX.Element {
  const current = useStore(sample);
  const [windowSec, setWindowSec] = useState<number>(900);
  if (current === null) return <p class="empty">Waiting for the first sample …</p>;
  return (
    <>
      <ProblemList problems={current.problems} />
      <Figures current={current} />
      <div class="section-head">
        <h2>Traffic</h2>
        <fieldset class="choice">
          <legend class="unseen">Time shown</legend>
          {WINDOWS.map(({ sec, word }) => (
            <button
              key={sec}
              type="button"
              aria-pressed={sec === windowSec}
              onClick={() => setWindowSec(sec)}
            >
              {word}
            </button>
          ))}
        </fieldset>
      </div>
      <TrafficCharts windowSec={windowSec} />
      <h2>Routes now</h2>
      <RouteTable routes={current.routes} />
      <h2>Workers</h2>
      <WorkerCharts windowSec={windowSec} />
      <WorkerTable workers={current.workers} waiting={current.waitingWorkers} />
    </>
  );
}

function Figures({ current: { now, slowestRoute, revision, phase } }: { current: Sample }): JSX.Element {
  const startedAt = useStore(status)?.startedAt;
  const figures: [title: string, value: string, more?: string][] = [
    ['Requests/s', rateOf(now.requestsPerSec)],
    ['Errors/s', rateOf(now.errorsPerSec)],
    ['Limited/s', rateOf(now.limitedPerSec)],
    ['p50', msOf(now.p50Ms)],
    ['p95', msOf(now.p95Ms)],
    ['p99', msOf(now.p99Ms)],
    ['Slowest route', slowestRoute === null ? '–' : slowestRoute.route, msOf(slowestRoute?.p99Ms)],
    ['In flight', countOf(now.inFlight)],
    [
      'Connections',
      countOf(now.connections),
      now.tunnels > 0 ? `${countOf(now.tunnels)} tunnels` : undefined,
    ],
    ['Bodies in/s', bytesOf(now.bytesInPerSec)],
    ['Bodies out/s', bytesOf(now.bytesOutPerSec)],
    [
      'Up for',
      startedAt === undefined ? '–' : spanSince(startedAt),
      `${phase === 'ready' ? '' : `${phase}, `}revision ${revision}`,
    ],
  ].map(([title = '', value = '', more]) => [title, value, more] as [string, string, string?]);
  return (
    <dl class="figures">
      {figures.map(([title, value, more]) => (
        <div key={title}>
          <dt>{title}</dt>
          <dd>
            {value}
            {more !== undefined && more !== '–' && <small>{more}</small>}
          </dd>
        </div>
      ))}
    </dl>
  );
}

const MOST_ROUTES = 20;
/** The label of requests that no route takes; UNMATCHED_ROUTE in src/contract/settings.ts. */
const UNMATCHED = '_none';

function RouteTable({ routes }: { routes: Sample['routes'] }): JSX.Element {
  const shown = routes.filter(({ route, requestsPerSec }) => route !== UNMATCHED || requestsPerSec > 0);
  const busiest = shown.toSorted((a, b) => b.requestsPerSec - a.requestsPerSec);
  return (
    <>
      <Table
        caption="Routes, the busiest first"
        rows={busiest.slice(0, MOST_ROUTES)}
        keyOf={({ route }) => route}
        empty="No route has had a request yet."
        columns={[
          { title: 'Route', wide: true, cell: ({ route }) => (route === UNMATCHED ? 'none matches' : route) },
          { title: 'Requests/s', number: true, cell: (row) => rateOf(row.requestsPerSec) },
          { title: 'Errors/s', number: true, cell: (row) => rateOf(row.errorsPerSec) },
          { title: 'Limited/s', number: true, cell: (row) => rateOf(row.limitedPerSec) },
          { title: 'p50', number: true, cell: (row) => msOf(row.p50Ms) },
          { title: 'p95', number: true, cell: (row) => msOf(row.p95Ms) },
          { title: 'p99', number: true, cell: (row) => msOf(row.p99Ms) },
        ]}
      />
      {shown.length > MOST_ROUTES && (
        <p class="hint">
          The {MOST_ROUTES} busiest of {shown.length}; <a href="#/routes">Routes</a> lists all.
        </p>
      )}
    </>
  );
}
