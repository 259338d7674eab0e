/** The command line of the benches; make passes SCENARIO, DURATION_SEC and ROUNDS. */
import { parseArgs } from 'node:util';

export interface BenchOptions {
  /** Empty: all scenarios. */
  names: string[];
  durationSec: number;
  rounds: number;
  /** null: each scenario's own number. */
  connections: number | null;
  baseline: boolean;
}

const MAX_DURATION_SEC = 600;
const MAX_ROUNDS = 100;
const MAX_CONNECTIONS = 10_000;

/** readOptions parses the command line. A wrong one makes the process print a message and exit with 2. */
export function readOptions(
  known: readonly string[],
  defaults: Pick<BenchOptions, 'durationSec' | 'rounds'>,
): BenchOptions {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        'duration-sec': { type: 'string' },
        rounds: { type: 'string' },
        connections: { type: 'string' },
        baseline: { type: 'boolean', default: false },
      },
    });
    const names = positionals
      .flatMap((word) => word.split(/[\s,]+/))
      .filter((word) => word !== '' && word !== 'all');
    const unknown = names.find((name) => !known.includes(name));
    if (unknown !== undefined) throw new Error(`no scenario ${unknown}; there is all, ${known.join(', ')}`);
    return {
      names,
      durationSec: whole('duration-sec', values['duration-sec'], defaults.durationSec, MAX_DURATION_SEC),
      rounds: whole('rounds', values.rounds, defaults.rounds, MAX_ROUNDS),
      connections:
        values.connections === undefined
          ? null
          : whole('connections', values.connections, 0, MAX_CONNECTIONS),
      baseline: values.baseline,
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exit(2);
  }
}

function whole(name: string, text: string | undefined, fallback: number, max: number): number {
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw new Error(`--${name} must be a whole number from 1 to ${max}, not ${text}`);
  }
  return value;
}
