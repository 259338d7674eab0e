import type { JSX } from 'preact';
import type { Sample, WorkerLoad } from '../../api/answers.ts';
import { bytesOf, countOf, msOf, percentOf, rateOf, spanOf } from '../../parts/format.ts';
import { Status } from '../../parts/status.tsx';
import { Table } from '../../parts/table.tsx';

interface WorkerTableProps {
  workers: readonly WorkerLoad[];
  /** Those without a process, until they are started again. */
  waiting: Sample['waitingWorkers'];
}

export function WorkerTable({ workers, waiting }: WorkerTableProps): JSX.Element {
  const rows: (Partial<WorkerLoad> & Pick<WorkerLoad, 'id'> & { startsInSec?: number })[] = [
    ...workers,
    ...waiting,
  ];
  return (
    <Table
      caption="Worker processes"
      rows={rows}
      keyOf={({ id, pid }) => pid ?? `waits ${id}`}
      empty="No worker runs."
      columns={[
        { title: 'Worker', number: true, cell: ({ id }) => id },
        { title: 'Pid', number: true, cell: ({ pid }) => pid ?? '–' },
        {
          title: 'State',
          cell: ({ state = 'dead', overload = 'none', startsInSec }) =>
            startsInSec === undefined ? (
              <Status word={overload === 'none' ? state : overload} />
            ) : (
              <Status tone="bad" word={`starts again in ${startsInSec} s`} />
            ),
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
