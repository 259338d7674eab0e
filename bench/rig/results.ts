/** Files of results: written by the runs, read by the report and the check. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Row } from '../matchups/matchup.ts';
import { type Machine, machine, type Revision, revision } from './record.ts';
import { median } from './stats.ts';

const FOLDER = fileURLToPath(new URL('../results/', import.meta.url));
const BASELINE = 'baseline.json';

export interface RunFacts {
  startedAt: string;
  revision: Revision;
  machine: Machine;
  /** false: only some scenarios ran, and the report ignores the result. */
  complete: boolean;
  /** Load average of one minute, before and after the run. */
  loadAverage: { before: number; after: number };
}

interface Header extends RunFacts {
  /** Command lines of servers and load generators, by name. */
  commands: Record<string, string>;
  backends: string;
}

export interface MatchupResult {
  name: string;
  title: string;
  load: string;
  rows: Row[];
}

export interface PeersResult extends Header {
  kind: 'peers';
  rounds: number;
  durationSec: number;
  versions: Record<string, string>;
  /** Peers and tools that could not run, and why. */
  absent: Record<string, string>;
  matchups: MatchupResult[];
}

export interface SluiceScenarioResult {
  name: string;
  title: string;
  load: string;
  workers: number;
  /** Why there is no figure; '' if there is one. */
  problem: string;
  figures: Record<string, number>;
}

export interface SluiceResult extends Header {
  kind: 'sluice';
  durationSec: number;
  scenarios: SluiceScenarioResult[];
}

/** What `make chaos` found for one server. */
export interface ChaosResult extends RunFacts {
  kind: 'chaos';
  /** The server: sluice, or a peer. */
  subject: string;
  version: string;
  seed: number;
  faults: ChaosFaultResult[];
}

export interface ChaosFaultResult {
  name: string;
  title: string;
  /** Why it does not apply to this server; '' if it does. */
  absent: string;
  /** Why it could not be injected; '' if it was. */
  problem: string;
  sec: number;
  findings: { bar: string; measured: string; reached: boolean | null; exact: boolean }[];
}

export type AnyResult = PeersResult | SluiceResult | ChaosResult;

/** header makes the fields that all results share. */
export function header(): Pick<RunFacts, 'startedAt' | 'revision' | 'machine'> {
  return { startedAt: new Date().toISOString(), revision: revision(), machine: machine() };
}

/** writeResult saves a result under a new name, or as the committed baseline, and returns the path. */
export function writeResult(result: AnyResult, { asBaseline = false } = {}): string {
  mkdirSync(FOLDER, { recursive: true });
  const stamp =
    result.startedAt.replace(/[-:]|\.\d+/g, '') + (result.kind === 'chaos' ? `-${result.subject}` : '');
  const own = asBaseline && result.kind === 'peers' ? BASELINE : `${result.kind}-${stamp}.json`;
  const name = asBaseline && result.kind === 'sluice' ? `sluice-${BASELINE}` : own;
  writeFileSync(`${FOLDER}${name}`, `${JSON.stringify(result, rounded, 1)}\n`);
  return `bench/results/${name}`;
}

/** readBaseline returns the committed result of `make bench-peers`; null: there is none. */
export function readBaseline(): PeersResult | null {
  return allResults().find(({ name }) => name === BASELINE)?.result as PeersResult | null;
}

/** completeOf returns the complete results of a kind, the latest last. */
export function completeOf<K extends AnyResult['kind']>(kind: K): Extract<AnyResult, { kind: K }>[] {
  return allResults()
    .map(({ result }) => result)
    .filter((result): result is Extract<AnyResult, { kind: K }> => result.kind === kind && result.complete)
    .toSorted((a, b) => a.startedAt.localeCompare(b.startedAt));
}

/** newestOf returns the latest complete result of a kind; null: there is none. */
export function newestOf<K extends AnyResult['kind']>(kind: K): Extract<AnyResult, { kind: K }> | null {
  return completeOf(kind).at(-1) ?? null;
}

/** figureOf returns the median over the rounds of one row; null: the row is missing or failed. */
export function figureOf(
  result: PeersResult,
  matchup: string,
  label: string,
  metric = 'cpuUs',
): number | null {
  const values = valuesOf(result, matchup, label, metric);
  return values.length === 0 ? null : median(values);
}

export interface Ratio {
  median: number;
  /** The median over the rounds. */
  smallest: number;
  largest: number;
}

/**
 * compareRounds compares two rows round by round, because other programs disturb the machine for longer than a round and so
 * slow both. null: one of the rows has no figures.
 */
export function compareRounds(
  result: PeersResult,
  { matchup, ours, theirs, metric = 'cpuUs', as = (a, b) => a / b }: RoundPairs,
): Ratio | null {
  const [a, b] = [valuesOf(result, matchup, ours, metric), valuesOf(result, matchup, theirs, metric)];
  const values = a.slice(0, b.length).map((value, round) => as(value, b[round]!));
  if (values.length === 0) return null;
  return { median: median(values), smallest: Math.min(...values), largest: Math.max(...values) };
}

export interface RoundPairs {
  matchup: string;
  ours: string;
  theirs: string;
  metric?: string;
  /** Default: the ratio of the two. */
  as?: (ours: number, theirs: number) => number;
}

function valuesOf(result: PeersResult, matchup: string, label: string, metric: string): number[] {
  const row = result.matchups.find(({ name }) => name === matchup)?.rows.find((each) => each.label === label);
  if (row === undefined || row.problem !== '') return [];
  return row.rounds.map((round) => round[metric]).filter((value) => value !== undefined);
}

function allResults(): { name: string; result: AnyResult }[] {
  mkdirSync(FOLDER, { recursive: true });
  return readdirSync(FOLDER)
    .filter((name) => name.endsWith('.json'))
    .map((name) => ({ name, result: JSON.parse(readFileSync(`${FOLDER}${name}`, 'utf8')) as AnyResult }));
}

function rounded(_: string, value: unknown): unknown {
  return typeof value === 'number' ? Math.round(value * 1_000) / 1_000 : value;
}
