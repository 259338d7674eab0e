import type { JSX } from 'preact';
import type { WorkerLoad } from '../../api/answers.ts';
import { bytesOf, countOf, msOf, percentOf, rateOf, spanOf } from '../../parts/format.ts';
import { Status, type Tone } from '../../parts/status.tsx';
import { Table } from '../../parts/table.tsx';

const TONES: Record<string, Tone> = { serving: 'ok', starting: 'quiet', draining: 'warn' };

export function WorkerTable({ workers }: { workers: readonly WorkerLoad[] }): JSX.Element {
  return (
    <Table
      caption="Worker processes"
      rows={workers}
      keyOf={({ pid }) => pid}
      empty="No worker runs."
      columns={[
        { title: 'Worker', number: true, cell: ({ id }) => id },
        { title: 'Pid', number: true, cell: ({ pid }) => pid },
        { title: 'State', cell: stateOf },
        { title: 'Up for', number: true, cell: ({ uptimeSec }) => spanOf(uptimeSec) },
        { title: 'CPU', number: true, cell: ({ cpuRatio }) => percentOf(cpuRatio) },
        { title: 'Memory', number: true, cell: ({ residentBytes }) => bytesOf(residentBytes) },
        { title: 'Loop delay', number: true, cell: ({ loopDelayMs }) => msOf(loopDelayMs) },
        { title: 'Connections', number: true, cell: ({ connections }) => countOf(connections) },
        { title: 'In flight', number: true, cell: ({ inFlight }) => countOf(inFlight) },
        { title: 'Requests/s', number: true, cell: ({ requestsPerSec }) => rateOf(requestsPerSec) },
      ]}
    />
  );
}

function stateOf({ state, overload }: WorkerLoad): JSX.Element {
  const isOverloaded = overload !== undefined && overload !== 'none';
  return (
    <Status tone={isOverloaded ? 'bad' : (TONES[state] ?? 'quiet')} word={isOverloaded ? overload : state} />
  );
}
