/**
 * Runs many random scenarios and summarizes them.
 *
 * SIM_SEED   run only the scenario of this seed, as a failure names it
 * SIM_COUNT  how many scenarios
 * SIM_SEC    longest time
 */
import { seedOf } from '../../fuzz/random.ts';
import { type Report, runScenario } from './run-scenario.ts';
import { isWithinDomain, scenarioOf } from './scenario.ts';
import { NONE, type Worst, worse } from './timeline.ts';

export interface Summary {
  scenarios: number;
  withinDomain: number;
  withLeases: number;
  requests: number;
  admitted: number;
  executions: number;
  bySource: Map<string, number>;
  faults: Map<string, number>;
  /** The largest excess: without a fault that allows extra tokens, and in all scenarios. */
  worstWithin: Worst;
  worst: Worst;
  failures: string[];
}

const MAX_FAILURES = 10;
const MAX_COMPLAINTS = 5;

export interface CampaignOptions {
  /** Mixed with the number of each scenario. */
  seed: number;
  count: number;
  sec: number;
  /** Called after each scenario. */
  onProgress?: (summary: Summary) => void;
}

export async function simulateMany({ seed, count, sec, onProgress }: CampaignOptions): Promise<Summary> {
  const untilMs = performance.now() + sec * 1_000;
  const summary = emptySummary();
  for (let i = 0; i < count && performance.now() < untilMs && summary.failures.length < MAX_FAILURES; i++) {
    await simulateOne(seedOf(seed, i), summary);
    onProgress?.(summary);
  }
  return summary;
}

/** simulateOne adds the scenario of one seed to a summary. */
export async function simulateOne(seed: number, summary: Summary = emptySummary()): Promise<Summary> {
  const scenario = scenarioOf(seed);
  const report = await runScenario(scenario);
  summary.scenarios++;
  if (scenario.leases) summary.withLeases++;
  summary.requests += report.requests;
  summary.admitted += report.admitted;
  summary.executions += report.executions;
  for (const [source, times] of Object.entries(report.bySource)) count(summary.bySource, source, times);
  for (const { kind } of scenario.faults) count(summary.faults, kind, 1);
  summary.worst = worse(summary.worst, report.worst);
  if (isWithinDomain(scenario)) {
    summary.withinDomain++;
    summary.worstWithin = worse(summary.worstWithin, report.worst);
  }
  if (report.complaints.length > 0) summary.failures.push(describe(seed, report));
  return summary;
}

function emptySummary(): Summary {
  return {
    scenarios: 0,
    withinDomain: 0,
    withLeases: 0,
    requests: 0,
    admitted: 0,
    executions: 0,
    bySource: new Map(),
    faults: new Map(),
    worstWithin: NONE,
    worst: NONE,
    failures: [],
  };
}

function count(counts: Map<string, number>, name: string, times: number): void {
  counts.set(name, (counts.get(name) ?? 0) + times);
}

function describe(seed: number, { complaints }: Report): string {
  const more = complaints.length - MAX_COMPLAINTS;
  return [
    `SIM_SEED=${seed} (make simulate repeats it): ${JSON.stringify(scenarioOf(seed))}`,
    ...complaints.slice(0, MAX_COMPLAINTS).map((text) => `  ${text}`),
    ...(more > 0 ? [`  and ${more} more`] : []),
  ].join('\n');
}
