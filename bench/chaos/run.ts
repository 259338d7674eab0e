/**
 * `make chaos`: injects faults into a built Sluice, or into another server with an equivalent configuration, prints for each
 * bar what was measured, and writes docs/resilience.md after a complete run. Exit 0 when the run is complete, whatever it
 * found; 1 when a fault could not be injected; 2 for a wrong command line.
 *
 *   node bench/chaos/run.ts [--only=backend-killed,flapping] [--seed=1] [--peer=haproxy] [--short] [--soak-min=60]
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { startProgress } from '../../src/cli/progress.ts';
import { writeResult } from '../rig/results.ts';
import { FAULTS } from './faults/all.ts';
import { writeReport } from './report.ts';
import { SUBJECTS } from './subjects/all.ts';
import { type ChaosRun, runChaos } from './suite.ts';

const SOAK_MIN = 10;
const MOST_SOAK_MIN = 24 * 60;

/** readRun parses the command line; it throws with a sentence for a wrong one. */
export function readRun(words: string[]): ChaosRun {
  const { values } = parseArgs({
    args: words,
    options: {
      only: { type: 'string', default: '' },
      seed: { type: 'string', default: '' },
      peer: { type: 'string', default: '' },
      'soak-min': { type: 'string', default: '' },
      short: { type: 'boolean', default: false },
    },
  });
  const names = values.only.split(/[\s,]+/).filter((name) => name !== '' && name !== 'all');
  const unknown = names.find((name) => !FAULTS.some((fault) => fault.name === name));
  const all = FAULTS.map(({ name }) => name).join(', ');
  if (unknown !== undefined) throw new Error(`no fault ${unknown}; there is all, ${all}`);
  const kind = SUBJECTS.find(({ name }) => name === (values.peer || 'sluice'));
  if (kind === undefined)
    throw new Error(`no peer ${values.peer}; there is ${SUBJECTS.map(({ name }) => name).join(', ')}`);
  const seed = values.seed === '' ? randomInt(1_000_000) : Number(values.seed);
  if (!Number.isInteger(seed) || seed < 0) throw new Error(`not a seed: ${values.seed}`);
  const soakMin = Number(values['soak-min'] || SOAK_MIN);
  if (!(soakMin > 0 && soakMin <= MOST_SOAK_MIN)) throw new Error(`not a length of the soak: ${soakMin}`);
  return {
    faults: FAULTS.filter(({ name }) => names.length === 0 || names.includes(name)),
    ...{ kind, seed, soakMin, short: values.short, complete: names.length === 0, say: console.log },
  };
}

async function main(): Promise<void> {
  const run = readRun(process.argv.slice(2));
  const missing = run.kind.missing();
  if (missing !== '') throw new Error(missing);
  console.log(`seed ${run.seed}, ${run.kind.name} ${run.kind.version()}\n`);
  const { say, begin: onBegin, stop } = startProgress(run.faults.length);
  const result = await runChaos({ ...run, say, onBegin }).finally(stop);
  console.log(`\nseed ${run.seed}; ${writeResult(result)}`);
  if (result.complete) console.log(writeReport());
  if (result.faults.some(({ problem }) => problem !== '')) process.exitCode = 1;
}

if (import.meta.main) {
  await main().catch((error: Error) => {
    console.error(error.message);
    process.exitCode = 2;
  });
}
