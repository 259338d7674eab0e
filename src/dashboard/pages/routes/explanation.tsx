import type { JSX } from 'preact';
import type { Explanation } from '../../api/answers.ts';
import { numberOf } from '../../parts/format.ts';
import { Status } from '../../parts/status.tsx';
import { Table } from '../../parts/table.tsx';

/** ExplanationView shows what POST /api/v1/explain answered: the outcome, the way to it, and the routes that were looked at. */
export function ExplanationView({ of }: { of: Explanation }): JSX.Element {
  const { steps, policies, backends, routes, leftOut } = of;
  return (
    <section class="explanation" aria-label="Explanation">
      <p>
        <Outcome of={of} />
      </p>
      <ol class="steps">
        {steps.map((step) => (
          <li key={step}>{step}</li>
        ))}
      </ol>
      {policies.length > 0 && (
        <Table
          caption="Policies that are charged"
          rows={policies}
          keyOf={({ policy }) => policy}
          empty=""
          columns={[
            {
              title: 'Policy',
              wide: true,
              cell: ({ policy, shadow }) => `${policy}${shadow ? ' (shadow)' : ''}`,
            },
            { title: 'Cost', number: true, cell: ({ cost }) => numberOf(cost) },
            { title: 'Level now', number: true, cell: ({ level }) => numberOf(level && Math.floor(level)) },
            { title: 'On lease', number: true, cell: ({ leased }) => numberOf(Math.floor(leased)) },
            { title: 'Capacity', number: true, cell: ({ capacity }) => numberOf(capacity) },
            { title: 'Refill per s', number: true, cell: ({ refillPerSecond }) => numberOf(refillPerSecond) },
          ]}
        />
      )}
      {backends.length > 0 && (
        <Table
          caption="Backends of the pool"
          rows={backends}
          keyOf={({ id }) => id}
          empty=""
          columns={[
            { title: 'Backend', wide: true, cell: ({ id }) => id },
            { title: 'State', cell: ({ state }) => <Status word={state} /> },
            { title: 'Would be tried', cell: ({ wouldBeTried }) => (wouldBeTried ? 'yes' : 'no') },
            { title: 'Why', wide: true, cell: ({ why }) => why },
          ]}
        />
      )}
      <Table
        caption="Routes that were looked at"
        rows={routes}
        keyOf={({ route }) => route}
        empty=""
        columns={[
          { title: 'Route', wide: true, cell: ({ route }) => route },
          {
            title: 'Matches',
            cell: ({ matched }) => <Status tone={matched ? 'ok' : 'quiet'} word={matched ? 'yes' : 'no'} />,
          },
          { title: 'Why', wide: true, cell: ({ why }) => why },
        ]}
      />
      {leftOut > 0 && <p class="hint">{leftOut} more are not shown.</p>}
    </section>
  );
}

function Outcome({ of: { route, refusal, pool, redirect } }: { of: Explanation }): JSX.Element {
  if (refusal !== null)
    return <Status tone="bad" word={`${refusal.status} ${refusal.reason}: ${refusal.text}`} />;
  const goal = pool !== null ? `pool ${pool}` : redirect !== null ? redirect.location : 'nothing';
  return <Status tone="ok" word={`Route ${route ?? 'none'}, to ${goal}`} />;
}
