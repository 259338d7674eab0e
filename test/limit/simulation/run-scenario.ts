/** Runs a scenario: traffic, faults, and at the end a time without faults, in which service must be normal again. */
import type { PolicySettings } from '../../../src/contract/settings.ts';
import type { Caller } from '../../../src/limit/caller/identity.ts';
import { Random, seedOf } from '../../fuzz/random.ts';
import { idealAdmissions, WindowOracle } from '../bucket/oracle.ts';
import { callerOf, policyOf } from '../limiter/limiter-lab.ts';
import { Fleet } from './fleet.ts';
import { type Fault, isNear, isWithinDomain, MAX_STALL_MS, type Scenario, TIMEOUT_MS } from './scenario.ts';
import type { Sabotage } from './sim-store.ts';
import { NONE, type Worst } from './timeline.ts';
import { VirtualTime } from './virtual-time.ts';

/** Longest time until service is normal again. */
const RECOVERY_MS = 5_000;
const AFTERWARDS_MS = 1_000;
const QUIET_PER_SEC = 40;
/** An empty bucket is not asked for again for this time. */
const PACE_SEC = 0.006;
/** A decision takes at most this longer than the deadline, stalls of the worker apart. */
const DEADLINE_SLACK_MS = 5;

export interface Report {
  complaints: string[];
  requests: number;
  admitted: number;
  bySource: Record<string, number>;
  executions: number;
  worst: Worst;
  /** Excess of all admissions, local ones included, over one bucket with the first limits; for one caller. */
  worstWithLocal: number;
}

export async function runScenario(scenario: Scenario, sabotage: Sabotage | null = null): Promise<Report> {
  const run = new Run(scenario, sabotage);
  return run.play();
}

class Run {
  readonly #scenario: Scenario;
  readonly #random: Random;
  readonly #time = new VirtualTime();
  readonly #fleet: Fleet;
  readonly #policies: PolicySettings[];
  readonly #callers: Caller[];
  readonly #report: Report = {
    complaints: [],
    requests: 0,
    admitted: 0,
    bySource: {},
    executions: 0,
    worst: NONE,
    worstWithLocal: 0,
  };
  readonly #arrivalsMs = new Map<Caller, number[]>();
  readonly #everything: WindowOracle;
  #recovered = false;
  #versionUs = 1_000;

  constructor(scenario: Scenario, sabotage: Sabotage | null) {
    this.#scenario = scenario;
    const { seed, machines, workersPerMachine, weather, leases } = scenario;
    this.#random = new Random(seedOf(seed, 1));
    this.#policies = scenario.policies.map((fields, i) => policyOf({ name: `policy-${i}`, ...fields }));
    const [first] = scenario.policies;
    const limits = { capacity: first?.capacity ?? 1, ratePerSec: first?.refillPerSecond ?? 1 };
    this.#everything = new WindowOracle(limits, 0);
    this.#callers = Array.from({ length: scenario.callers }, (_, i) => callerOf(`caller-${i}`));
    for (const caller of this.#callers) this.#arrivalsMs.set(caller, []);
    this.#fleet = new Fleet({
      time: this.#time,
      random: this.#random,
      machines,
      workersPerMachine,
      weather,
      leases,
      timeoutMs: TIMEOUT_MS,
      lagMs: TIMEOUT_MS + DEADLINE_SLACK_MS + 4 * MAX_STALL_MS,
      policies: this.#policies,
      versionUs: this.#versionUs,
      sabotage,
    });
  }

  async play(): Promise<Report> {
    const { phases, faults } = this.#scenario;
    let atMs = 0;
    for (const { ms, perSec } of phases) {
      if (perSec > 0) this.#arriveUntil(atMs, atMs + ms, perSec);
      atMs += ms;
    }
    let calmMs = atMs;
    for (const fault of faults) {
      this.#time.at(fault.atMs, () => this.#befall(fault));
      calmMs = Math.max(calmMs, fault.atMs + lastsMs(fault));
    }
    const recoveredMs = calmMs + RECOVERY_MS;
    this.#arriveUntil(calmMs, recoveredMs + AFTERWARDS_MS, QUIET_PER_SEC);
    this.#time.at(recoveredMs, () => this.#expectRecovery());
    const { auditor } = this.#fleet;
    await this.#time.run(recoveredMs + AFTERWARDS_MS, () => auditor.afterEvent());
    await this.#time.run(this.#time.nowMs + 1_000, () => auditor.afterEvent());
    this.#fleet.expectNobodyWaits();
    auditor.finish();
    this.#judgeRefusals();
    const { complaints } = auditor;
    const { executions } = this.#fleet.store;
    const worstWithLocal = this.#everything.worst;
    return { ...this.#report, complaints, executions, worst: auditor.worst(), worstWithLocal };
  }

  /** Without faults, requests of one token are refused about as by an ideal bucket. */
  #judgeRefusals(): void {
    const { policies, costs, callers, faults, leases } = this.#scenario;
    const [policy, second] = policies;
    const calm = isNear(this.#scenario) && faults.every(({ kind }) => kind === 'drain');
    if (!calm || policy === undefined || second !== undefined || costs.some((cost) => cost !== 1)) return;
    const { capacity, refillPerSecond: rate } = policy;
    const limits = { capacity, ratePerSec: rate };
    const ideal = [...this.#arrivalsMs.values()].reduce(
      (sum, list) => sum + idealAdmissions(limits, list),
      0,
    );
    // Tokens that may be on lease at the end, the refill of two pauses of the deny cache, and some slack for small numbers.
    const lent = leases ? callers * Math.floor(capacity / 4) : 0;
    const bound = ideal * (leases ? 0.05 : 0.02) + lent + 2 * PACE_SEC * rate + 10;
    const missing = ideal - this.#report.admitted;
    if (missing > bound)
      this.#fleet.auditor.complain(`${missing} of ${ideal} are missing that an ideal bucket had let pass`);
  }

  #arriveUntil(atMs: number, untilMs: number, perSec: number): void {
    const { burst } = this.#scenario;
    const gapMs =
      (-Math.log(1 - this.#random.below(1_000_000) / 1_000_000) / perSec) * 1_000 * ((1 + burst) / 2);
    const nextMs = atMs + gapMs;
    if (nextMs >= untilMs) return;
    this.#time.atQuietly(nextMs, () => {
      this.#arriveUntil(nextMs, untilMs, perSec);
      for (let left = 1 + this.#random.below(burst); left > 0; left--) this.#request();
    });
  }

  #request(): void {
    const { costs, skew } = this.#scenario;
    const worker = this.#fleet.anyWorker(skew);
    if (worker === null) return;
    const [caller, cost] = [this.#random.pick(this.#callers), this.#random.pick(costs)];
    this.#report.requests++;
    this.#arrivalsMs.get(caller)?.push(this.#time.nowMs);
    this.#fleet.request(worker, { caller, policies: this.#policies, cost }, ({ decision, waitedMs }) => {
      const { auditor } = this.#fleet;
      const { allowed, source } = decision;
      if (waitedMs > TIMEOUT_MS + DEADLINE_SLACK_MS)
        auditor.complain(`${worker.name} took ${waitedMs.toFixed(1)} ms to decide`);
      if (allowed) {
        this.#report.admitted++;
        this.#everything.spend(this.#time.nowMs, cost);
      }
      const name = `${allowed ? 'allowed' : 'refused'} ${source}`;
      this.#report.bySource[name] = (this.#report.bySource[name] ?? 0) + 1;
      const touched = worker.accepting && isNear(this.#scenario);
      const mayBeLocal = !touched || !(this.#recovered || isWithinDomain(this.#scenario));
      if (source === 'local' && !mayBeLocal) auditor.complain(`${worker.name} decided alone`);
    });
  }

  #befall(fault: Fault): void {
    const fleet = this.#fleet;
    switch (fault.kind) {
      case 'crash':
        fleet.crash(fault.worker);
        break;
      case 'drain':
        fleet.drain(fault.worker);
        break;
      case 'stall':
        fleet.worker(fault.worker).stall(fault.ms);
        break;
      case 'cut':
        fleet.worker(fault.worker).link.cut(fault.ms);
        break;
      case 'partition':
        fleet.partition(fault.workers, fault.ms, fault.keeps);
        break;
      case 'flapping':
        this.#flap(fault, fault.times);
        break;
      case 'weather':
        fleet.changeWeather(fault.weather, fault.ms);
        break;
      case 'limits':
        this.#changeLimits(fault);
        break;
      case 'recount':
        fleet.recount(fault.workers, fault.spreadMs);
        break;
      case 'operator-reset':
        this.#resetBuckets(fault.caller);
        break;
      default:
        this.#befallStore(fault);
    }
  }

  #befallStore(
    fault: Extract<Fault, { kind: 'restart-empty' | 'failover' | 'clock' | 'freeze' | 'refuse' }>,
  ): void {
    const fleet = this.#fleet;
    switch (fault.kind) {
      case 'restart-empty':
        fleet.restartEmpty();
        break;
      case 'failover':
        fleet.failOver(fault.lostMs);
        break;
      case 'clock':
        fleet.stepClock(fault.byMs);
        if (fault.forMs !== null) this.#time.after(fault.forMs, () => fleet.stepClock(-fault.byMs));
        break;
      case 'freeze':
        fleet.freeze(fault.ms);
        break;
      case 'refuse':
        fleet.refuse(fault.ms);
        break;
    }
  }

  #resetBuckets(index: number): void {
    const caller = this.#callers[index];
    if (caller !== undefined) this.#fleet.resetBuckets(caller, this.#policies);
  }

  #flap(fault: Fault & { kind: 'flapping' }, times: number): void {
    if (times === 0) return;
    this.#fleet.partition(fault.workers, fault.downMs, false);
    this.#time.after(fault.downMs + fault.upMs, () => this.#flap(fault, times - 1));
  }

  #changeLimits({ policy, size, spreadMs }: Fault & { kind: 'limits' }): void {
    const old = this.#policies[policy];
    if (old === undefined) return;
    this.#policies[policy] = { ...old, ...size };
    this.#versionUs += 1_000;
    this.#fleet.configure([...this.#policies], this.#versionUs, spreadMs);
  }

  #expectRecovery(): void {
    this.#recovered = true;
    for (const worker of this.#fleet.workers) {
      if (worker.accepting && worker.breakerOpen)
        this.#fleet.auditor.complain(`${worker.name} is still without the store`);
    }
  }
}

/** Until all effects of a fault are over, the recovery apart. */
function lastsMs(fault: Fault): number {
  switch (fault.kind) {
    case 'flapping':
      return fault.times * (fault.upMs + fault.downMs);
    case 'limits':
    case 'recount':
      return fault.spreadMs;
    case 'clock':
      return fault.forMs ?? 0;
    case 'stall':
    case 'partition':
    case 'cut':
    case 'freeze':
    case 'refuse':
    case 'weather':
      return fault.ms;
    default:
      return 0;
  }
}
