/**
 * Runs many random cases of one kind, counts the outcomes and reports the undecided differences.
 *
 * FUZZ_SEED   number that the cases are made from (default: a new one, printed)
 * FUZZ_COUNT  how many cases (default: as many as fit a test run)
 * FUZZ_SEC    longest time (default: a few seconds as a test, without bound under `make fuzz`)
 * FUZZ_CASE   only the case of this number
 */
import { Random, seedOf } from './random.ts';

const MAX_FAILURES = 20;
const MIN_CASES = 20;

export interface CaseResult {
  /** The classes of outcomes that the case belongs to. */
  classes: string[];
  failures: string[];
}

export interface Campaign {
  /** The test file, without its extensions. */
  name: string;
  title: string;
  /** Number of cases that run at the same time. */
  lanes: number;
  /** Number of cases and time limit of the run in `make test`. */
  short: { count: number; sec: number };
  /** Share of FUZZ_COUNT for this kind; 1: all of it. */
  share?: number;
  /** Generates and judges one case. */
  run(random: Random, lane: number): Promise<CaseResult>;
  /** Makes the bytes of a failing case smaller, for the report. */
  minimize?(random: Random, failure: string): Promise<string>;
}

export interface CampaignReport {
  seed: number;
  cases: number;
  classes: Map<string, number>;
  failures: string[];
}

/** The beginning of a failure identifies it: a smaller case must fail in the same way. */
const KIND_LENGTH = 28;

export function isSameFailure({ failures }: CaseResult, failure: string): boolean {
  return failures.some((text) => text.slice(0, KIND_LENGTH) === failure.slice(0, KIND_LENGTH));
}

/** runCampaign returns the counts. The caller asserts that there are no failures. */
export async function runCampaign(campaign: Campaign): Promise<CampaignReport> {
  const { env } = process;
  const seed = Number(env.FUZZ_SEED ?? Date.now() % 1_000_000_000);
  const count =
    env.FUZZ_COUNT === undefined
      ? campaign.short.count
      : Math.ceil(Number(env.FUZZ_COUNT) * (campaign.share ?? 1));
  const sec =
    env.FUZZ_SEC === undefined && env.FUZZ_COUNT !== undefined
      ? Number.POSITIVE_INFINITY
      : Number(env.FUZZ_SEC ?? campaign.short.sec);
  const report: CampaignReport = { seed, cases: 0, classes: new Map(), failures: [] };
  const startMs = performance.now();
  const endMs = startMs + sec * 1000;
  let next = env.FUZZ_CASE === undefined ? 0 : Number(env.FUZZ_CASE);
  const last = env.FUZZ_CASE === undefined ? count : next + 1;
  const lane = async (number: number): Promise<void> => {
    while (
      next < last &&
      report.failures.length < MAX_FAILURES &&
      (performance.now() < endMs || next < MIN_CASES)
    ) {
      const index = next++;
      const result = await campaign.run(new Random(seedOf(seed, index)), number);
      report.cases++;
      for (const name of result.classes) report.classes.set(name, (report.classes.get(name) ?? 0) + 1);
      if (result.failures.length > 0) report.failures.push(await describe(campaign, { seed, index }, result));
    }
  };
  await Promise.all(Array.from({ length: campaign.lanes }, (_, number) => lane(number)));
  print(campaign, report, (performance.now() - startMs) / 1000);
  return report;
}

async function describe(
  campaign: Campaign,
  { seed, index }: { seed: number; index: number },
  result: CaseResult,
): Promise<string> {
  const smaller =
    (await campaign.minimize?.(new Random(seedOf(seed, index)), result.failures[0] ?? '')) ?? '';
  const again = `FUZZ_SEED=${seed} FUZZ_CASE=${index} node test/fuzz/${campaign.name}.test.ts`;
  const shown =
    smaller === ''
      ? ''
      : `\n  smallest: ${JSON.stringify(smaller)}\n  hex: ${Buffer.from(smaller, 'latin1').toString('hex')}`;
  return `${again}\n  ${result.failures.join('\n  ').slice(0, 4000)}${shown}`;
}

function print({ title }: Campaign, { seed, cases, classes, failures }: CampaignReport, sec: number): void {
  const rate = Math.round(cases / sec);
  const lines = [`${title}: ${cases} cases in ${sec.toFixed(1)} s, ${rate} per second, FUZZ_SEED=${seed}`];
  const sorted = [...classes].sort(([a], [b]) => a.localeCompare(b));
  for (const [of, times] of sorted) lines.push(`${String(times).padStart(9)}  ${of}`);
  lines.push(`${String(failures.length).padStart(9)}  undecided`);
  console.log([...lines, ...failures].join('\n'));
}
