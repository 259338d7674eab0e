/** Runs faults one after the other, each in a stage of its own. */

import { seedOf } from '../../test/fuzz/random.ts';
import { loadAverage } from '../rig/record.ts';
import { type ChaosResult, header } from '../rig/results.ts';
import type { Fault } from './fault.ts';
import { Stage } from './stage.ts';
import type { SubjectKind } from './subjects/subject.ts';

export interface ChaosRun {
  faults: readonly Fault[];
  kind: SubjectKind;
  /** Everything random in the run follows from it: what is killed when, and in which order. */
  seed: number;
  short: boolean;
  soakMin: number;
  /** All faults take part, so that the report may use the result. */
  complete: boolean;
  say: (line: string) => void;
  /** Called as each fault begins. */
  onBegin?: (name: string) => void;
}

/** runChaos injects the faults and returns what was found. A fault that could not be injected is told as its problem. */
export async function runChaos(run: ChaosRun): Promise<ChaosResult> {
  const { faults, kind, seed, short, complete, say, onBegin } = run;
  const begin = header();
  const before = loadAverage();
  const results: ChaosResult['faults'] = [];
  for (const fault of faults) {
    onBegin?.(fault.name);
    const result = await runFault(fault, run);
    results.push(result);
    for (const line of inWords(result)) say(line);
  }
  return {
    ...{ kind: 'chaos', ...begin, complete: complete && !short, subject: kind.name, version: kind.version() },
    ...{ seed, loadAverage: { before, after: loadAverage() }, faults: results },
  };
}

async function runFault(
  fault: Fault,
  { kind, seed, short, soakMin }: ChaosRun,
): Promise<ChaosResult['faults'][number]> {
  const { name, title } = fault;
  const absent = kind.name === 'sluice' ? '' : (fault.missingIn?.(kind.name) ?? '');
  const result = { name, title, absent, problem: '', sec: 0, findings: [] };
  if (absent !== '') return result;
  // The same seed gives a fault the same randomness, whichever others run before it.
  const own = [...name].reduce((mixed, letter) => seedOf(mixed, letter.charCodeAt(0)), seed);
  const stage = new Stage({ kind, seed: own, short, soakMin });
  const startMs = performance.now();
  const ended = await fault
    .run(stage)
    .then((findings) => ({ findings, problem: '' }))
    .catch((error: unknown) => ({ findings: [], problem: messageOf(error) }));
  const problem = await stage.close().then(
    () => ended.problem,
    (error: unknown) => ended.problem || messageOf(error),
  );
  return { ...result, ...ended, problem, sec: (performance.now() - startMs) / 1_000 };
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}

/** Lines for the terminal. */
function inWords({ name, absent, problem, sec, findings }: ChaosResult['faults'][number]): string[] {
  const head = name.padEnd(16);
  if (absent !== '') return [`${head} –  ${absent}`];
  const lines = findings.map(({ bar, measured, reached }) => {
    const verdict = reached === null ? '–' : reached ? 'reached' : 'MISSED';
    return `${head} ${verdict.padEnd(8)} ${bar}: ${measured}`;
  });
  if (problem !== '') lines.push(`${head} no figure: ${problem}`);
  return [...lines, `${head} ${sec.toFixed(0)} s`];
}
