import type { JSX } from 'preact';
import { type CurveName, history, type WorkerCurveName } from '../../api/history.ts';
import { useStore } from '../../api/store.ts';
import { Chart } from '../../parts/chart.tsx';
import { bytesOf, countOf, msOf, percentOf, rateOf } from '../../parts/format.ts';

interface Drawn {
  title: string;
  format(value: number | null | undefined): string;
  lines: [name: CurveName, label: string, colour: string][];
}

const CHARTS: readonly Drawn[] = [
  {
    title: 'Requests per second',
    format: rateOf,
    lines: [
      ['requestsPerSec', 'all', '--line-1'],
      ['errorsPerSec', 'errors', '--line-bad'],
      ['limitedPerSec', 'limited', '--line-warn'],
    ],
  },
  {
    title: 'Time to answer',
    format: msOf,
    lines: [
      ['p50Ms', 'p50', '--line-1'],
      ['p95Ms', 'p95', '--line-2'],
      ['p99Ms', 'p99', '--line-3'],
    ],
  },
  {
    title: 'In flight and connections',
    format: countOf,
    lines: [
      ['inFlight', 'in flight', '--line-1'],
      ['connections', 'connections', '--line-2'],
    ],
  },
];

export function TrafficCharts({ windowSec }: { windowSec: number }): JSX.Element {
  const { times, curves } = useStore(history);
  return (
    <div class="charts">
      {CHARTS.map(({ title, format, lines }) => (
        <Chart
          key={title}
          title={title}
          times={times}
          windowSec={windowSec}
          format={format}
          lines={lines.map(([name, label, colour]) => ({ label, colour, values: curves[name] }))}
        />
      ))}
    </div>
  );
}

const WORKER_CHARTS: [title: string, name: WorkerCurveName, format: Drawn['format']][] = [
  ['CPU per worker', 'cpuRatio', percentOf],
  ['Memory per worker', 'residentBytes', bytesOf],
  ['Loop delay per worker', 'loopDelayMs', msOf],
];

const COLOURS = ['--line-1', '--line-2', '--line-3', '--line-warn', '--line-bad'];
/** More lines than these cannot be told apart; the table below has all workers. */
const MOST_LINES = 5;

export function WorkerCharts({ windowSec }: { windowSec: number }): JSX.Element {
  const { times, workers } = useStore(history);
  const shown = [...workers].sort(([a], [b]) => a - b).slice(0, MOST_LINES);
  return (
    <div class="charts">
      {WORKER_CHARTS.map(([title, name, format]) => (
        <Chart
          key={title}
          title={workers.size > MOST_LINES ? `${title} (the first ${MOST_LINES})` : title}
          times={times}
          windowSec={windowSec}
          format={format}
          lines={shown.map(([id, curves], index) => ({
            label: String(id),
            colour: COLOURS[index] ?? '--line-1',
            values: curves[name],
          }))}
        />
      ))}
    </div>
  );
}
