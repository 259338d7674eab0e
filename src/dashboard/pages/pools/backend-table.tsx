import type { JSX } from 'preact';
import type { Backend } from '../../api/answers.ts';
import { useMayWrite } from '../../api/session.ts';
import { agoOf, clockOf, countOf, msOf, percentOf, rateOf } from '../../parts/format.ts';
import { Status } from '../../parts/status.tsx';
import { Table } from '../../parts/table.tsx';

interface BackendTableProps {
  pool: string;
  backends: readonly Backend[];
  onDrain(backend: Backend): void;
  onEnable(backend: Backend): void;
}

export function BackendTable({ pool, backends, onDrain, onEnable }: BackendTableProps): JSX.Element {
  const mayWrite = useMayWrite();
  return (
    <Table
      caption={`Backends of pool ${pool}`}
      rows={backends}
      keyOf={({ id }) => id}
      empty="No backend matches."
      columns={[
        { title: 'Backend', wide: true, cell: nameOf },
        { title: 'State', wide: true, cell: stateOf },
        { title: 'Last probe', wide: true, cell: probeOf },
        { title: 'Share', number: true, cell: ({ share }) => percentOf(share) },
        { title: 'Attempts/s', number: true, cell: ({ requestsPerSec }) => rateOf(requestsPerSec) },
        { title: 'p99', number: true, cell: ({ p99Ms }) => msOf(p99Ms) },
        { title: 'In flight', number: true, cell: ({ inFlight }) => countOf(inFlight) },
        { title: 'Weight', number: true, cell: ({ weight }) => weight },
        {
          title: 'Change',
          cell: (backend) => (
            <button
              type="button"
              disabled={!mayWrite}
              title={mayWrite ? undefined : 'Your token may only read'}
              aria-label={`${backend.enabled ? 'Drain' : 'Enable'} ${backend.id}`}
              onClick={() => (backend.enabled ? onDrain(backend) : onEnable(backend))}
            >
              {backend.enabled ? 'Drain' : 'Enable'}
            </button>
          ),
        },
      ]}
    />
  );
}

function nameOf({ id, url, backup }: Backend): JSX.Element {
  const address = url.replace(/^http:\/\//, '');
  return (
    <>
      <strong>{id}</strong> {backup && <span class="tag">backup</span>}
      {address !== id && <small>{url}</small>}
    </>
  );
}

function stateOf({ state, reason, ejectedUntil }: Backend): JSX.Element {
  return (
    <>
      <Status word={state} />
      {ejectedUntil !== null && <small>until {clockOf(ejectedUntil)}</small>}
      {reason !== null && state !== 'up' && <small>{reason}</small>}
    </>
  );
}

function probeOf({ lastProbe, consecutivePasses, consecutiveFailures }: Backend): JSX.Element {
  if (lastProbe === null) return <span class="hint">not probed</span>;
  const { ok, detail, durationMs, at } = lastProbe;
  const inRow = ok ? consecutivePasses : consecutiveFailures;
  return (
    <>
      <Status tone={ok ? 'ok' : 'bad'} word={ok ? 'passed' : 'failed'} /> {detail} in {msOf(durationMs)}
      <small>
        {agoOf(at)}
        {inRow > 1 && `, ${countOf(inRow)} in a row`}
      </small>
    </>
  );
}
