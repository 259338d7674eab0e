/** Random scenarios from one seed: the fleet, its traffic and the faults. */
import type { PolicySettings } from '../../../src/contract/settings.ts';
import { Random } from '../../fuzz/random.ts';
import type { Weather } from './link.ts';

export interface BucketSize {
  capacity: number;
  refillPerSecond: number;
}

export type Fault =
  | { kind: 'crash'; worker: number }
  | { kind: 'drain'; worker: number }
  | { kind: 'stall'; worker: number; ms: number }
  | { kind: 'limits'; policy: number; size: BucketSize; spreadMs: number }
  | { kind: 'recount'; workers: number; spreadMs: number }
  | { kind: 'operator-reset'; caller: number }
  | { kind: 'restart-empty' }
  | { kind: 'failover'; lostMs: number }
  /** Reversed after a while, or permanent. */
  | { kind: 'clock'; byMs: number; forMs: number | null }
  | { kind: 'partition'; workers: number[]; ms: number; keeps: boolean }
  | { kind: 'flapping'; workers: number[]; times: number; upMs: number; downMs: number }
  | { kind: 'cut'; worker: number; ms: number }
  | { kind: 'freeze'; ms: number }
  | { kind: 'refuse'; ms: number }
  | { kind: 'weather'; ms: number; weather: Partial<Weather> };

export interface Phase {
  ms: number;
  /** Requests per second of the whole fleet; each one may be a burst. */
  perSec: number;
}

export interface Scenario {
  seed: number;
  leases: boolean;
  machines: number;
  workersPerMachine: number;
  policies: (BucketSize & Pick<PolicySettings, 'onStoreFailure'>)[];
  callers: number;
  /** Tokens of a request; one is chosen each time. */
  costs: number[];
  /** Simultaneous requests: 1…burst. */
  burst: number;
  /** Percentage of the traffic that goes to the first worker in addition to its even share. */
  skew: number;
  phases: Phase[];
  weather: Weather;
  faults: (Fault & { atMs: number })[];
}

export const TIMEOUT_MS = 20;
export const MAX_STALL_MS = 120;
/** Requests of one scenario. */
const MAX_REQUESTS = 1_200;
const MAX_DURATION_MS = 6_000;

const SIZES: readonly BucketSize[] = [
  { capacity: 1, refillPerSecond: 1 },
  { capacity: 2, refillPerSecond: 50 },
  { capacity: 5, refillPerSecond: 5 },
  { capacity: 20, refillPerSecond: 200 },
  { capacity: 40, refillPerSecond: 2_000 },
  { capacity: 100, refillPerSecond: 0.001 },
  { capacity: 100, refillPerSecond: 500 },
  { capacity: 200, refillPerSecond: 1_000 },
  { capacity: 400, refillPerSecond: 100 },
  { capacity: 400, refillPerSecond: 8_000 },
  { capacity: 2_000, refillPerSecond: 2_000 },
  { capacity: 5_000, refillPerSecond: 20_000 },
];

/** Faults that leave every worker connected to one intact store: they allow no extra tokens. */
const WITHIN_DOMAIN = ['crash', 'drain', 'stall'] as const;
const OUTSIDE: readonly Fault['kind'][] = [
  'limits',
  'limits',
  'recount',
  'operator-reset',
  'restart-empty',
  'failover',
  'clock',
  'clock',
  'partition',
  'partition',
  'flapping',
  'cut',
  'freeze',
  'refuse',
  'weather',
  'weather',
];

/** scenarioOf derives a scenario from the seed. A third of all seeds have only faults that allow no extra tokens. */
export function scenarioOf(seed: number): Scenario {
  const random = new Random(seed);
  const machines = 1 + random.below(3);
  const workersPerMachine = 1 + random.below(4);
  const policies = Array.from({ length: random.oneIn(4) ? 2 : 1 }, () => ({
    ...random.pick(SIZES),
    onStoreFailure: random.oneIn(6) ? random.pick(['allow', 'deny'] as const) : ('local' as const),
  }));
  const scenario: Scenario = {
    seed,
    leases: !random.oneIn(4),
    machines,
    workersPerMachine,
    policies,
    callers: random.oneIn(3) ? 1 + random.below(3) : 1,
    costs: random.pick([[1], [1], [1], [1, 1, 2], [1, 3, 7]]),
    burst: random.pick([1, 1, 1, 4, 30]),
    skew: random.pick([0, 0, 50, 90]),
    phases: phasesOf(random, policies[0]?.refillPerSecond ?? 1),
    weather: weatherOf(random),
    faults: [],
  };
  const durationMs = scenario.phases.reduce((sum, { ms }) => sum + ms, 0);
  const kinds = random.oneIn(3) ? WITHIN_DOMAIN : [...WITHIN_DOMAIN, ...OUTSIDE, ...OUTSIDE];
  for (let left = random.below(5); left > 0; left--) {
    const fault = faultOf(random, random.pick<Fault['kind']>(kinds), scenario);
    scenario.faults.push({ atMs: random.below(Math.ceil(durationMs)), ...fault });
  }
  return scenario;
}

/** isWithinDomain says whether no fault allows extra tokens. */
export function isWithinDomain({ faults }: Scenario): boolean {
  return faults.every(({ kind }) => (WITHIN_DOMAIN as readonly string[]).includes(kind));
}

/** isNear says whether two round trips, the current one and the next, fit into the deadline. */
export function isNear({ weather }: Scenario): boolean {
  return 4 * weather.maxMs <= TIMEOUT_MS - 2;
}

function phasesOf(random: Random, refillPerSecond: number): Phase[] {
  const rate = Math.max(20, Math.min(refillPerSecond, 20_000));
  const phases: Phase[] = [];
  let [requests, durationMs] = [0, 0];
  while (requests < MAX_REQUESTS && durationMs < MAX_DURATION_MS && phases.length < 20) {
    const perSec = rate * random.pick([0, 0.2, 0.5, 0.7, 0.9, 1.2, 2, 3, 8]);
    const wantedMs = 10 + random.below(1_500);
    const ms = Math.min(wantedMs, perSec === 0 ? wantedMs : ((MAX_REQUESTS - requests) / perSec) * 1_000 + 1);
    requests += (perSec * ms) / 1_000;
    durationMs += ms;
    phases.push({ ms, perSec });
  }
  return phases;
}

function weatherOf(random: Random): Weather {
  const [minMs, maxMs] = random.pick([
    [0.07, 0.43],
    [0.07, 0.43],
    [0.05, 3],
    [1, 2],
    [2, 8],
  ] as const);
  return { minMs, maxMs, inOrder: !random.oneIn(4), lostRequests: 0, lostReplies: 0, slow: 0, slowMs: 0 };
}

function someWorkers(random: Random, count: number): number[] {
  const chosen = Array.from({ length: count }, (_, i) => i).filter(() => random.oneIn(2));
  return chosen.length === 0 ? [random.below(count)] : chosen;
}

function faultOf(random: Random, kind: Fault['kind'], scenario: Scenario): Fault {
  const count = scenario.machines * scenario.workersPerMachine;
  switch (kind) {
    case 'crash':
    case 'drain':
      return { kind, worker: random.below(count) };
    case 'stall':
      return { kind, worker: random.below(count), ms: 1 + random.below(MAX_STALL_MS) };
    case 'limits':
      return {
        kind,
        policy: random.below(scenario.policies.length),
        size: random.pick(SIZES),
        spreadMs: random.pick([0, 10, 100, 1_000]),
      };
    case 'recount':
      return { kind, workers: 1 + random.below(2 * count), spreadMs: random.pick([0, 100, 1_000]) };
    case 'operator-reset':
      return { kind, caller: random.below(scenario.callers) };
    case 'restart-empty':
      return { kind };
    case 'failover':
      return { kind, lostMs: 1 + random.below(500) };
    case 'clock':
      return {
        kind,
        byMs: random.pick([-5_000, -1_500, -900, -100, -20, 5, 60, 400, 2_000, 30_000]),
        forMs: random.oneIn(2) ? 1 + random.below(1_000) : null,
      };
    case 'partition':
      return {
        kind,
        workers: someWorkers(random, count),
        ms: 5 + random.below(3_000),
        keeps: random.oneIn(2),
      };
    case 'flapping':
      return {
        kind,
        workers: someWorkers(random, count),
        times: 2 + random.below(6),
        upMs: 20 + random.below(600),
        downMs: 20 + random.below(400),
      };
    case 'cut':
      return { kind, worker: random.below(count), ms: 1 + random.below(400) };
    case 'freeze':
    case 'refuse':
      return { kind, ms: 5 + random.below(1_000) };
    case 'weather':
      return { kind, ms: 50 + random.below(1_000), weather: badWeather(random) };
  }
}

function badWeather(random: Random): Partial<Weather> {
  return random.pick<Partial<Weather>>([
    { lostRequests: 20 },
    { lostReplies: 20 },
    { lostRequests: 5, lostReplies: 30 },
    { slow: 30, slowMs: 15 },
    { slow: 20, slowMs: 35 },
    { slow: 50, slowMs: 120, inOrder: false },
    { minMs: 100, maxMs: 100 },
  ]);
}
