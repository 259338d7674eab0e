import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { BackendAvailability, BackendState, Health, Panic } from '../../../src/contract/health.ts';
import type { PoolSettings } from '../../../src/contract/pool-settings.ts';
import { type HealthChange, HealthRegistry } from '../../../src/primary/health/health-registry.ts';
import { makePool } from '../workers/fixtures/harness.ts';

/** Steps: p a passed probe, f a failed one, t a connection failure on live traffic. */
type Step = 'p' | 'f' | 't';

function makeRegistry(pools: PoolSettings[] = [makePool()]) {
  const registry = new HealthRegistry();
  const changes: HealthChange[] = [];
  registry.onChange((change) => changes.push(change));
  registry.configure(pools);
  return { registry, changes };
}

function play(registry: HealthRegistry, steps: string): Health[] {
  return [...steps].map((step) => {
    if (step === 't') registry.recordConnectFailure('app', 'b0', 'ECONNREFUSED');
    else {
      const ok = step === 'p';
      registry.record('app', 'b0', { atMs: 1, ok, durationMs: 2, detail: ok ? 'status 200' : 'timeout' });
    }
    return stateNow(registry).health;
  });
}

function stateNow(registry: HealthRegistry): BackendState {
  const state = registry.state('app', 'b0');
  assert.ok(state);
  return state;
}

/** With rise 2 and fall 3: health after each step. */
const TABLE: { title: string; steps: string; health: string }[] = [
  { title: 'B6: one pass is enough for a backend without any result yet', steps: 'p', health: 'U' },
  { title: 'B6: a failed first probe marks it down, then rise applies', steps: 'fpp', health: 'DDU' },
  { title: 'B3: it goes down at the third consecutive failure', steps: 'pfff', health: 'UUUD' },
  { title: 'B3: it returns after 2 good probes', steps: 'pfffpp', health: 'UUUDDU' },
  { title: 'B6: a pass resets the count of failures', steps: 'pffpffpfff', health: 'UUUUUUUUUD' },
  { title: 'B6: a failure resets the count of passes', steps: 'fpfpfpp', health: 'DDDDDDU' },
  {
    title: 'a connection failure on traffic counts as one failed probe at once',
    steps: 'pttt',
    health: 'UUUD',
  },
  { title: 'probes and traffic count together', steps: 'pftf', health: 'UUUD' },
  { title: 'a connection failure resets the count of passes', steps: 'fptpp', health: 'DDDDU' },
];

const LETTERS: Record<Health, string> = { up: 'U', down: 'D', unknown: '?' };

for (const { title, steps, health } of TABLE) {
  test(`${title} (${steps})`, () => {
    const { registry, changes } = makeRegistry();
    assert.equal(stateNow(registry).health, 'unknown');
    assert.equal(registry.availability()[0]?.standing, 'off');
    const seen = play(registry, steps);
    assert.equal(seen.map((each) => LETTERS[each]).join(''), health);
    const flips = [...`?${health}`].filter((letter, i, all) => i > 0 && letter !== all[i - 1]);
    assert.deepEqual(
      changes.map(({ state }) => LETTERS[state.health]),
      flips,
      'exactly the changes are reported',
    );
  });
}

test('a backend is up or down by its last run of equal results alone', () => {
  const steps = fc.array(fc.constantFrom<Step>('p', 'f', 't'), { minLength: 1, maxLength: 60 });
  const threshold = fc.integer({ min: 1, max: 5 });
  fc.assert(
    fc.property(steps, threshold, threshold, (list, rise, fall) => {
      const check = makePool().healthCheck;
      assert.ok(check);
      const { registry } = makeRegistry([makePool({ healthCheck: { ...check, rise, fall } })]);
      let expected: Health = 'unknown';
      let run = 0;
      let wasOk = false;
      list.forEach((step) => {
        const ok = step === 'p';
        // There is no traffic yet.
        if (expected === 'unknown' && step === 't') return;
        run = ok === wasOk ? run + 1 : 1;
        wasOk = ok;
        if (expected === 'unknown' || run >= (ok ? rise : fall)) expected = ok ? 'up' : 'down';
        assert.equal(play(registry, step)[0], expected);
      });
    }),
  );
});

test('states have reasons, counters and the last probe, and changes have a cause', () => {
  const { registry, changes } = makeRegistry();
  assert.deepEqual(stateNow(registry), {
    pool: 'app',
    backend: 'b0',
    health: 'unknown',
    enabled: true,
    ejectedUntilMs: null,
    state: 'unknown',
    reason: null,
    consecutivePasses: 0,
    consecutiveFailures: 0,
    lastProbe: null,
  });
  play(registry, 'p');
  assert.equal(stateNow(registry).reason, 'first probe passed: status 200');
  play(registry, 'fft');
  assert.equal(stateNow(registry).reason, '3 consecutive failures: ECONNREFUSED on live traffic');
  assert.equal(stateNow(registry).consecutiveFailures, 3);
  assert.deepEqual(stateNow(registry).lastProbe, { atMs: 1, ok: false, durationMs: 2, detail: 'timeout' });
  play(registry, 'pp');
  assert.equal(stateNow(registry).reason, '2 consecutive passes: status 200');
  assert.deepEqual(
    changes.map(({ cause }) => cause),
    ['probe', 'traffic', 'probe'],
  );
});

test('an operator drains and enables independently of health, and only changes are reported', () => {
  const { registry, changes } = makeRegistry();
  play(registry, 'p');
  assert.equal(registry.setEnabled('app', 'b0', false)?.reason, 'drained by operator');
  registry.setEnabled('app', 'b0', false);
  assert.deepEqual(registry.availability(), [
    { pool: 'app', backend: 'b0', standing: 'off', rampedMs: null },
  ]);
  play(registry, 'fff');
  const enabled = registry.setEnabled('app', 'b0', true);
  assert.ok(enabled);
  assert.equal(enabled.health, 'down');
  assert.equal(enabled.reason, '3 consecutive failures: timeout');
  assert.deepEqual(
    changes.map(({ cause }) => cause),
    ['probe', 'operator', 'probe', 'operator'],
  );
  assert.equal(registry.setEnabled('app', 'nobody', false), null);
  assert.equal(registry.setEnabled('nowhere', 'b0', false), null);
});

test('a backend without a health check is healthy, and no failure on traffic changes that', () => {
  const { registry, changes } = makeRegistry([makePool({ healthCheck: null })]);
  assert.equal(stateNow(registry).health, 'up');
  play(registry, 'tttttfff');
  assert.equal(stateNow(registry).health, 'up');
  assert.equal(stateNow(registry).consecutiveFailures, 0);
  assert.equal(changes.length, 0);
});

test('B6: a backend known to be down stays down over a reload until it passes, with its counters and the drain', () => {
  const { registry, changes } = makeRegistry();
  play(registry, 'fp');
  registry.setEnabled('app', 'b0', false);
  const before = stateNow(registry);
  const told = changes.length;
  registry.configure([makePool({ name: 'other' }), makePool()]);
  assert.deepEqual(stateNow(registry), before);
  assert.equal(changes.length, told, 'a reload by itself tells nothing');
  assert.equal(
    registry.state('other', 'b0')?.health,
    'unknown',
    'the same id in another pool is another backend',
  );
  assert.deepEqual(
    registry.states().map(({ pool }) => pool),
    ['other', 'app'],
  );
  assert.deepEqual(play(registry, 'p'), ['up']);
});

test('a backend with a new address starts fresh, except for the operator’s drain', () => {
  const { registry } = makeRegistry();
  play(registry, 'p');
  registry.setEnabled('app', 'b0', false);
  registry.configure([
    makePool({ backends: [{ id: 'b0', host: '127.0.0.1', port: 9, tls: false, weight: 1, backup: false }] }),
  ]);
  const state = stateNow(registry);
  assert.equal(state.health, 'unknown');
  assert.equal(state.lastProbe, null);
  assert.equal(state.enabled, false);
  assert.deepEqual(play(registry, 'f'), ['down']);
});

test('results of removed backends are ignored, and one that is added again starts fresh', () => {
  const { registry, changes } = makeRegistry();
  play(registry, 'p');
  registry.configure([]);
  registry.record('app', 'b0', { atMs: 1, ok: false, durationMs: 1, detail: 'timeout' });
  registry.recordConnectFailure('app', 'b0', 'ECONNREFUSED');
  assert.equal(changes.length, 1);
  registry.configure([makePool()]);
  assert.equal(stateNow(registry).health, 'unknown');
});

test('a reload that adds a health check keeps the backend up until its first result, which decides', () => {
  for (const [step, health] of [
    ['p', 'up'],
    ['f', 'down'],
  ] as const) {
    const { registry } = makeRegistry([makePool({ healthCheck: null })]);
    registry.configure([makePool()]);
    assert.equal(stateNow(registry).health, 'up');
    assert.deepEqual(play(registry, step), [health]);
  }
});

test('connection failures on traffic count, but do not decide alone before the first probe', () => {
  const { registry } = makeRegistry([makePool({ healthCheck: null })]);
  registry.configure([makePool()]);
  assert.deepEqual(play(registry, 'ttp'), ['up', 'up', 'up'], 'it counts as up until then');
  assert.deepEqual(play(registry, 'ttt'), ['up', 'up', 'down']);
});

test('connections to the former address of a backend do not count against the server that has its id now', () => {
  const { registry } = makeRegistry();
  play(registry, 'f');
  registry.configure([
    makePool({ backends: [{ id: 'b0', host: '127.0.0.1', port: 9, tls: false, weight: 1, backup: false }] }),
  ]);
  assert.deepEqual(play(registry, 'tttp'), ['unknown', 'unknown', 'unknown', 'up']);
});

test('a reload that removes the health check makes a backend healthy; one that changes it keeps the state', () => {
  const { registry } = makeRegistry();
  play(registry, 'f');
  const check = makePool().healthCheck;
  assert.ok(check);
  registry.configure([makePool({ healthCheck: { ...check, rise: 1 } })]);
  assert.equal(stateNow(registry).health, 'down');
  assert.deepEqual(play(registry, 'pf'), ['up', 'up']);
  registry.configure([makePool({ healthCheck: null })]);
  assert.equal(stateNow(registry).health, 'up');
  assert.equal(stateNow(registry).consecutiveFailures, 0);
});

const OUTAGE = { atMs: 1, ok: false, durationMs: 2, detail: 'name not resolved: EAI_AGAIN' };

test('a name that does not resolve takes no backend down, and leaves one without any result unknown', () => {
  const unresolved = { ...OUTAGE, resolverError: 'EAI_AGAIN', inconclusive: true };
  const { registry, changes } = makeRegistry();
  for (let i = 0; i < 5; i++) registry.record('app', 'b0', unresolved);
  assert.equal(stateNow(registry).health, 'unknown');
  assert.equal(stateNow(registry).reason, 'name not resolved: EAI_AGAIN');
  assert.deepEqual(
    changes.map(({ cause, state }) => [cause, state.health]),
    [['resolver', 'unknown']],
    'told once',
  );
  play(registry, 'pff');
  for (let i = 0; i < 5; i++) registry.record('app', 'b0', unresolved);
  assert.equal(stateNow(registry).health, 'up');
  assert.equal(stateNow(registry).consecutiveFailures, 2);
  // It has a known address, so the result counts.
  const detail = 'status 200, at its last known address (EAI_AGAIN)';
  registry.record('app', 'b0', { atMs: 1, ok: true, durationMs: 1, detail, resolverError: 'EAI_AGAIN' });
  assert.equal(stateNow(registry).consecutivePasses, 1);
  play(registry, 'p');
  assert.deepEqual(
    changes.map(({ cause }) => cause),
    ['resolver', 'resolver', 'probe', 'resolver', 'resolver'],
    'each begin and each end of an outage is reported',
  );
});

test('a change names the backends whose availability is another now, and all changes together lead to what a new worker is told', () => {
  const ids = ['a', 'b', 'c'];
  const step = fc.record({
    id: fc.constantFrom(...ids),
    what: fc.constantFrom('p', 'f', 't', 'on', 'off', 'load'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const backends = ids.map((id, port) => ({
        id,
        host: '127.0.0.1',
        port,
        tls: false,
        weight: 1,
        backup: false,
      }));
      const { registry, changes } = makeRegistry([makePool({ backends })]);
      const worker = new Map<string, BackendAvailability>();
      const learn = (states: BackendAvailability[]) => {
        for (const state of states) worker.set(state.backend, state);
      };
      learn(registry.availability());
      let panic: Panic | undefined = 'no';
      for (const { id, what } of steps) {
        if (what === 'load') {
          // With the settings workers are told everything.
          registry.configure([makePool({ backends, healthCheck: null })]);
          registry.configure([makePool({ backends })]);
          learn(registry.availability());
          panic = registry.panics()[0]?.panic;
        } else if (what === 't') registry.recordConnectFailure('app', id, 'ECONNREFUSED');
        else if (what === 'on' || what === 'off') registry.setEnabled('app', id, what === 'on');
        else registry.record('app', id, { atMs: 1, ok: what === 'p', durationMs: 1, detail: '' });
        for (const { changed } of changes.splice(0)) {
          for (const state of changed.states) assert.notDeepEqual(state, worker.get(state.backend));
          learn(changed.states);
          for (const each of changed.panics) {
            assert.notEqual(each.panic, panic);
            panic = each.panic;
          }
        }
        assert.deepEqual([...worker.values()], registry.availability());
        assert.equal(panic, registry.panics()[0]?.panic);
      }
    }),
  );
});

test('2,000 backends that come up and go down one after the other cost a message for each, of one backend', () => {
  const backends = Array.from({ length: 2_000 }, (_, port) => ({
    id: `b${port}`,
    host: '127.0.0.1',
    port,
    tls: false,
    weight: 1,
    backup: false,
  }));
  const { registry, changes } = makeRegistry([makePool({ backends })]);
  for (const oks of [[true], [false, false, false]])
    for (const { id } of backends)
      for (const ok of oks) registry.record('app', id, { atMs: 1, ok, durationMs: 1, detail: '' });
  assert.deepEqual(
    changes.map(({ changed }) => changed.states.length),
    Array(4_000).fill(1),
  );
  assert.equal(changes.filter(({ changed }) => changed.panics.length > 0).length, 1);
});
