import type { JSX } from 'preact';
import type { WorkerLoad } from '../../api/answers.ts';
import { bytesOf, countOf, msOf, percentOf, rateOf, spanOf } from '../../parts/format.ts';
import { Status } from '../../parts/status.tsx';
import { Table } from '../../parts/table.tsx';

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
        {
          title: 'State',
          cell: ({ state, overload }) => <Status word={overload === 'none' ? state : overload} />,
        },
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
