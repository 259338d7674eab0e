/** What a fault of the chaos run is, and what it finds. */
import type { Stage } from './stage.ts';

export interface Finding {
  /** The bar in words. */
  bar: string;
  /** What was measured, in words with units. */
  measured: string;
  /** null: this server has no such figure, so that it neither reaches nor misses the bar. */
  reached: boolean | null;
  /** The bar does not depend on the speed of the machine: tests hold to it. */
  exact: boolean;
}

export interface Fault {
  /** Its name on the command line. */
  name: string;
  /** What is done, for the table. */
  title: string;
  /** Why a server that is not Sluice takes no part; '' if it does. */
  missingIn?(peer: string): string;
  /** What the machine lacks for it; '' or absent: nothing. */
  missing?: (() => string) | undefined;
  /** run injects it. The stage closes what it started. */
  run(stage: Stage): Promise<Finding[]>;
}

/** atMost judges a figure by its largest allowed value. */
export function atMost(
  bar: string,
  value: number,
  most: number,
  { unit = '', digits = 0, more = '', exact = false } = {},
): Finding {
  const measured = `${value.toFixed(digits)}${unit}${more === '' ? '' : ` (${more})`}`;
  return { bar, measured, reached: value <= most, exact };
}

/** atLeast judges a figure by its smallest allowed value. */
export function atLeast(
  bar: string,
  value: number,
  least: number,
  { unit = '', digits = 0, more = '', exact = false } = {},
): Finding {
  const measured = `${value.toFixed(digits)}${unit}${more === '' ? '' : ` (${more})`}`;
  return { bar, measured, reached: value >= least, exact };
}
