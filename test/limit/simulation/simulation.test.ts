/** Short runs of the limiter's simulation; `make simulate` is the long one. SIM_SEED repeats one scenario. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../fuzz/random.ts';
import { simulateMany, simulateOne } from './campaign.ts';
import { runScenario } from './run-scenario.ts';
import { CALM_WEATHER, runTrace } from './run-trace.ts';
import { type Scenario, scenarioOf } from './scenario.ts';
import { onAndOff, steadyAndBursts } from './traces.ts';

const SCENARIOS = 200;
const LONGEST_SEC = 60;
const WORKERS = 4;

/** One client, evenly over four workers, without faults. */
function scenario(fields: Partial<Scenario>): Scenario {
  return {
    seed: 11,
    leases: true,
    machines: 2,
    workersPerMachine: 2,
    policies: [{ capacity: 100, refillPerSecond: 0.001, onStoreFailure: 'local' }],
    callers: 1,
    costs: [1],
    burst: 1,
    skew: 0,
    phases: [{ ms: 1_000, perSec: 500 }],
    weather: CALM_WEATHER,
    faults: [],
    ...fields,
  };
}

const sized = (capacity: number, refillPerSecond: number): Pick<Scenario, 'policies'> => ({
  policies: [{ capacity, refillPerSecond, onStoreFailure: 'local' }],
});

async function play(fields: Partial<Scenario>) {
  const report = await runScenario(scenario(fields));
  assert.deepEqual(report.complaints, []);
  return report;
}

test(`B30: the simulated limiter keeps the guarantee, and its bound for every fault, in ${SCENARIOS} random scenarios`, async (t) => {
  const { SIM_SEED } = process.env;
  const seed = Number(SIM_SEED ?? Date.now() & 0x7fffffff);
  t.diagnostic(`seed ${seed}`);
  const summary =
    SIM_SEED === undefined
      ? await simulateMany({ seed, count: SCENARIOS, sec: LONGEST_SEC })
      : await simulateOne(seed);
  assert.deepEqual(summary.failures, []);
  assert.ok(SIM_SEED !== undefined || summary.scenarios === SCENARIOS, `only ${summary.scenarios} played`);
});

test('a scenario of the simulation runs the same way each time', async () => {
  const reports = [await runScenario(scenarioOf(12_345)), await runScenario(scenarioOf(12_345))];
  assert.deepEqual(reports[0], reports[1]);
});

test('B30: the simulated limiter admits 100 of 100, and after each fault no more than its documented extra', async () => {
  const { admitted } = await play({});
  assert.equal(admitted, 100);
  const restarted = await play({ faults: [{ atMs: 500, kind: 'restart-empty' }] });
  assert.equal(restarted.admitted, 200, 'an empty store: one capacity');
  // 500 requests a second take all 100 tokens within 250 ms; the replica lacks the last 100 ms.
  const failedOver = await play({ faults: [{ atMs: 150, kind: 'failover', lostMs: 100 }] });
  const fromStore = failedOver.admitted - (failedOver.bySource['allowed local'] ?? 0);
  assert.ok(fromStore > 120 && fromStore <= 180, `${fromStore} after a failover`);
  const stepped = await play({
    ...sized(100, 10),
    faults: [{ atMs: 500, kind: 'clock', byMs: 4_000, forMs: null }],
  });
  const steady = await play(sized(100, 10));
  assert.ok(Math.abs(stepped.admitted - steady.admitted - 40) <= 1, 'ten per second, four seconds at once');
  const back = await play({
    ...sized(100, 10),
    faults: [{ atMs: 500, kind: 'clock', byMs: -5_000, forMs: null }],
  });
  assert.ok(back.admitted <= steady.admitted, 'a step back gives nothing');
});

test('B32: the simulated limiter admits the extra shares of workers that are cut off, only while they are', async () => {
  const [capacity, rate, cutOff, ms] = [100, 200, 2, 2_000];
  const faults: Scenario['faults'] = [{ atMs: 500, kind: 'partition', workers: [0, 1], ms, keeps: false }];
  const phases = [{ ms: 4_000, perSec: 600 }];
  const report = await play({ ...sized(capacity, rate), phases, faults });
  // They notice the end by the next probe.
  const outSec = (ms + 400) / 1_000;
  const bound = (cutOff / WORKERS) * (capacity + rate * outSec) + 1 + rate * 0.02;
  assert.ok(report.worstWithLocal <= bound, `${report.worstWithLocal}, ${bound} is the bound`);
  const atLeast = (cutOff / WORKERS) * rate * (ms / 1_000) * 0.8;
  assert.ok(report.worstWithLocal > atLeast, `${report.worstWithLocal}: they went on`);
});

test('B32: the simulated limiter creates no tokens however often the store comes and goes', async () => {
  const [capacity, rate] = [1_000, 10];
  const flapping = { kind: 'flapping' as const, workers: [0, 1, 2, 3], times: 12, upMs: 400, downMs: 100 };
  const phases = [{ ms: 6_500, perSec: 200 }];
  const report = await play({ ...sized(capacity, rate), phases, faults: [{ atMs: 100, ...flapping }] });
  // All local shares together are one more bucket with the last known level of the shared one.
  const bound = capacity + rate * 6.5 + WORKERS;
  assert.ok(report.worstWithLocal <= bound, `${report.worstWithLocal}, ${bound} is the bound`);
  assert.ok((report.bySource['allowed local'] ?? 0) > 100, 'the shares were used');
});

test('B30: the simulated limiter refuses at most 2 % that an ideal bucket admits, at most 5 % with leases', async () => {
  const size = { capacity: 2_000, refillPerSecond: 5_000 };
  const random = new Random(7);
  for (const trace of [steadyAndBursts(random, 5_000, 1), onAndOff(random, 5_000, 4_000)]) {
    const coalesced = await runTrace(trace, { size, workers: WORKERS, leases: false, seed: 3 });
    const leased = await runTrace(trace, { size, workers: WORKERS, leases: true, seed: 3 });
    assert.deepEqual([...coalesced.complaints, ...leased.complaints], []);
    assert.ok(coalesced.missing <= 0.02, `${trace.name}: ${coalesced.missing} missing`);
    assert.ok(leased.missing <= 0.05, `${trace.name}: ${leased.missing} missing with leases`);
    assert.ok(
      leased.leased > 0.3 && leased.callsPerAdmitted < coalesced.callsPerAdmitted,
      'leases were used',
    );
  }
});

test('the simulation notices a store that forgets leases', async () => {
  const phases = [
    { ms: 300, perSec: 6_400 },
    { ms: 60, perSec: 40_000 },
  ];
  const hot = scenario({ ...sized(400, 8_000), phases });
  const { complaints } = await runScenario(hot, (state) => ({ ...state, leased: 0, leasedBefore: 0 }));
  assert.match(complaints[0] ?? 'nothing', /workers hold \d+ tokens on lease, 0 are accounted for/);
  assert.ok(complaints.some((text) => / over capacity \+ rate × time/.test(text)));
});

test('the simulation notices a store that sometimes grants an extra token', async () => {
  let writes = 0;
  const generous = scenario({ phases: [{ ms: 1_000, perSec: 500 }] });
  const { complaints } = await runScenario(generous, (state) => {
    const more = ++writes % 20 === 0 ? 1_000_000 : 0;
    return { ...state, levelMicro: Math.min(state.levelMicro + more, state.capacity * 1_000_000) };
  });
  assert.match(complaints[0] ?? 'nothing', /a window admitted [\d.]+ over capacity \+ rate × time/);
});
