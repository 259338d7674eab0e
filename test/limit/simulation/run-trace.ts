/** Runs a trace of one client on a fleet without faults, and compares it with a bucket without delay. */
import { Random } from '../../fuzz/random.ts';
import { idealAdmissions } from '../bucket/oracle.ts';
import { callerOf, policyOf } from '../limiter/limiter-lab.ts';
import { Fleet } from './fleet.ts';
import { type BucketSize, TIMEOUT_MS } from './scenario.ts';
import type { Trace } from './traces.ts';
import { VirtualTime } from './virtual-time.ts';

export interface TraceOptions {
  size: BucketSize;
  workers: number;
  leases: boolean;
  seed: number;
}

export interface TraceReport {
  complaints: string[];
  requests: number;
  admitted: number;
  ideal: number;
  /** Share of the ideal bucket's admissions that are missing; negative: there are more. */
  missing: number;
  /** Script calls per admitted request. */
  callsPerAdmitted: number;
  /** Share of admitted requests without a call of the store. */
  leased: number;
  meanWaitMs: number;
  /** Tokens over capacity + rate × time. */
  excess: number;
}

/** One-way delays of a network inside a data centre. */
export const CALM_WEATHER = {
  minMs: 0.075,
  maxMs: 0.425,
  inOrder: true,
  lostRequests: 0,
  lostReplies: 0,
  slow: 0,
  slowMs: 0,
};

export async function runTrace(trace: Trace, options: TraceOptions): Promise<TraceReport> {
  const { size, workers, leases, seed } = options;
  const time = new VirtualTime();
  const random = new Random(seed);
  const policies = [policyOf({ name: 'traced', ...size })];
  const fleet = new Fleet({
    time,
    random,
    machines: 1,
    workersPerMachine: workers,
    weather: CALM_WEATHER,
    leases,
    timeoutMs: TIMEOUT_MS,
    lagMs: TIMEOUT_MS,
    policies,
    versionUs: 1_000,
    sabotage: null,
  });
  const asked = { caller: callerOf('traced'), policies, cost: 1 };
  let [admitted, leased, waitedMs] = [0, 0, 0];
  const arrive = (index: number) => {
    const atMs = trace.arrivalsMs[index];
    if (atMs === undefined) return;
    time.atQuietly(atMs, () => {
      arrive(index + 1);
      fleet.request(fleet.worker(random.below(workers)), asked, ({ decision, waitedMs: ms }) => {
        if (!decision.allowed) return;
        admitted++;
        waitedMs += ms;
        if (decision.source === 'lease') leased++;
        if (decision.source === 'local') fleet.auditor.complain('decided alone in good weather');
      });
    });
  };
  arrive(0);
  await time.run((trace.arrivalsMs.at(-1) ?? 0) + 100, () => fleet.auditor.afterEvent());
  fleet.expectNobodyWaits();
  fleet.auditor.finish();
  const limits = { capacity: size.capacity, ratePerSec: size.refillPerSecond };
  const ideal = idealAdmissions(limits, trace.arrivalsMs);
  return {
    complaints: fleet.auditor.complaints,
    requests: trace.arrivalsMs.length,
    admitted,
    ideal,
    missing: (ideal - admitted) / ideal,
    callsPerAdmitted: fleet.store.executions / admitted,
    leased: leased / admitted,
    meanWaitMs: waitedMs / admitted,
    excess: fleet.auditor.worst().onAdmission,
  };
}
