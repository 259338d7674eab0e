/** A chart over time by uPlot, with a legend that shows the newest values, or those under the pointer. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import type { Curve } from '../api/answers.ts';
import { useStore } from '../api/store.ts';
import { colourOf, paint } from '../frame/theme.ts';
import { clockOf } from './format.ts';

interface Line {
  label: string;
  /** A variable of the style sheet. */
  colour: string;
  values: Curve;
}

interface ChartProps {
  title: string;
  times: number[];
  lines: readonly Line[];
  format(value: number | null | undefined): string;
  /** How many seconds before the last row are shown. */
  windowSec: number;
}

const HEIGHT = 150;
/** While the primary is younger than the window, what there is fills the chart. */
const SHORTEST_SEC = 60;

export function Chart({ title, times, lines, format, windowSec }: ChartProps): JSX.Element {
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [hovered, setHovered] = useState<number | null>(null);
  const painted = useStore(paint);
  const names = lines.map(({ label }) => label).join();
  useEffect(() => {
    const element = frame.current as HTMLDivElement;
    const made = new uPlot(
      optionsOf(lines, format, element.clientWidth, setHovered),
      [[], ...lines.map(() => [])],
      element,
    );
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    resized.observe(element);
    plot.current = made;
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [names, painted]);
  useEffect(() => {
    const end = times.at(-1) ?? 0;
    const start = Math.min(Math.max(times[0] ?? 0, end - windowSec), end - SHORTEST_SEC);
    plot.current?.setData([times, ...lines.map(({ values }) => values)], false);
    plot.current?.setScale('x', { min: start, max: end });
  }, [times, times.length, times.at(-1), windowSec, names, painted]);
  const row = hovered ?? times.length - 1;
  return (
    <figure class="chart">
      <figcaption>
        <strong>{title}</strong>
        <span class="legend">
          {hovered !== null && <span>{clockOf((times[row] ?? 0) * 1_000)}</span>}
          {lines.map(({ label, colour, values }) => (
            <span key={label}>
              <svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">
                <rect width="10" height="10" fill={`var(${colour})`} />
              </svg>
              {label} <b>{format(values[row])}</b>
            </span>
          ))}
        </span>
      </figcaption>
      <div ref={frame} class="plot" aria-hidden="true" />
    </figure>
  );
}

function optionsOf(
  lines: readonly Line[],
  format: ChartProps['format'],
  width: number,
  onHover: (row: number | null) => void,
): uPlot.Options {
  const grid = { stroke: colourOf('--grid'), width: 1 };
  const axis = {
    stroke: colourOf('--muted'),
    grid,
    ticks: { show: false },
    font: '11px system-ui, sans-serif',
  };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    padding: [8, 8, 0, 0],
    cursor: { sync: { key: 'sluice' }, drag: { x: false, y: false }, points: { size: 5 } },
    scales: { y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
    series: [
      {},
      ...lines.map(({ label, colour }) => ({
        label,
        stroke: colourOf(colour),
        width: 1.5,
        points: { show: false },
      })),
    ],
    axes: [
      {
        ...axis,
        space: 70,
        size: 26,
        values: timesOf,
      },
      {
        ...axis,
        size: 58,
        space: 32,
        values: (_, splits) => splits.map((value) => format(value).replace(/\.0+(?!\d)/, '')),
      },
    ],
    hooks: { setCursor: [({ cursor: { idx } }) => onHover(idx ?? null)] },
  };
}

/** With seconds only where the labels would be the same without. */
function timesOf(_plot: uPlot, splits: number[], _axis: number, _space: number, stepSec: number): string[] {
  return splits.map((sec) => clockOf(sec * 1_000).slice(-8, stepSec < 60 ? undefined : -3));
}
