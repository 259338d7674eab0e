import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LeastRequests } from '../../src/balance/least-requests.ts';
import { SlowStart } from '../../src/balance/slow-start.ts';
import { SmoothWeightedRoundRobin } from '../../src/balance/smooth-weighted-round-robin.ts';
import { FakeTime } from '../support/fake-time.ts';
import { countById, makeBackends, pickIds, seededRandom } from './fixtures.ts';

const RAMP_MS = 30_000;

test('B7: a backend rises linearly from 10 % to all of its weight', () => {
  const time = new FakeTime();
  const [backend] = makeBackends([20]);
  new SlowStart(time.timer).set(backend!, 0, RAMP_MS);
  const weights = [backend!.weight];
  for (let i = 0; i < 4; i++) {
    time.pass(10_000);
    weights.push(Number(backend!.weight.toFixed(1)));
  }
  assert.deepEqual(
    weights.map((weight) => Math.round(weight)),
    [2, 8, 14, 20, 20],
  );
  assert.equal(backend!.weight, 20);
});

test('B7: both algorithms follow it, and the shares are exact again afterwards', () => {
  for (const make of [
    (backends: ReturnType<typeof makeBackends>) => new SmoothWeightedRoundRobin(backends, 0),
    (backends: ReturnType<typeof makeBackends>) => new LeastRequests(backends, seededRandom(1)),
  ]) {
    const time = new FakeTime();
    const backends = makeBackends([1, 1]);
    const algorithm = make(backends);
    new SlowStart(time.timer).set(backends[0]!, 0, RAMP_MS);
    const shareOf = () => countById(pickIds(algorithm, 4_000)).b0! / 4_000;
    assert.ok(Math.abs(shareOf() - 0.1 / 1.1) < 0.03, 'a tenth at first');
    time.pass(RAMP_MS / 2);
    assert.ok(Math.abs(shareOf() - 0.55 / 1.55) < 0.03, 'half way');
    time.pass(RAMP_MS);
    assert.ok(Math.abs(shareOf() - 0.5) < 0.03);
  }
});

test('B1, B7: a round robin that has seen a slow start gives exact shares when it is over', () => {
  const time = new FakeTime();
  const backends = makeBackends([3, 1]);
  const algorithm = new SmoothWeightedRoundRobin(backends, 0);
  new SlowStart(time.timer).set(backends[0]!, 0, RAMP_MS);
  for (let i = 0; i < 40; i++) {
    pickIds(algorithm, 7);
    time.pass(1_000);
  }
  const counts = countById(pickIds(algorithm, 400));
  assert.ok(Math.abs(counts.b0! - 300) <= 1, JSON.stringify(counts));
});

test('B7: another process goes on where the rise is; null ends it; at rest there is no timer', () => {
  const time = new FakeTime();
  time.timer.start();
  const [backend] = makeBackends([10]);
  const slowStart = new SlowStart(time.timer);
  slowStart.set(backend!, 15_000, RAMP_MS);
  assert.equal(backend!.weight, 5.5);
  slowStart.set(backend!, null, RAMP_MS);
  assert.equal(backend!.weight, 10);
  slowStart.set(backend!, 29_950, RAMP_MS);
  time.pass(2_000);
  assert.equal(backend!.weight, 10);
  assert.ok(time.timer.resting, 'nothing is armed any more');
  time.timer.stop();
});
