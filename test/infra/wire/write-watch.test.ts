import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WriteWatch } from '../../../src/infra/wire/write-watch.ts';
import { FakeTime, TICK_MS } from '../../support/fake-time.ts';
import { MemoryWire } from '../../support/memory-wire.ts';

const IDLE_MS = 400;
/** The deadline, one check, and four ticks of the timer. */
const LATEST_MS = IDLE_MS + IDLE_MS / 4 + 4 * TICK_MS;

/** A wire that writes as many bytes as the test says. */
class SlowWire extends MemoryWire {
  waiting = 0;

  override get blocked(): boolean {
    return this.waiting > 0;
  }

  take(bytes: number): void {
    this.waiting -= bytes;
    this.takenBytes += bytes;
  }
}

function watch({ waiting }: { waiting: number }) {
  const time = new FakeTime();
  const { timer } = time;
  const wire = new SlowWire();
  wire.waiting = waiting;
  const stalledAtMs: number[] = [];
  const limits = { idleMs: IDLE_MS };
  const made = new WriteWatch({
    wire,
    timer,
    idleMs: () => limits.idleMs,
    onStalled: () => stalledAtMs.push(time.nowMs),
  });
  return { wire, timer, made, limits, stalledAtMs, pass: time.pass.bind(time) };
}

test('a peer that takes nothing is reported once, not before the deadline and at most one check later', () => {
  const { made, stalledAtMs, pass, timer } = watch({ waiting: 1000 });
  made.start();
  pass(10 * IDLE_MS);
  assert.equal(stalledAtMs.length, 1);
  const [atMs = 0] = stalledAtMs;
  assert.ok(atMs >= IDLE_MS && atMs <= LATEST_MS, `after ${atMs} ms`);
  assert.equal(timer.size, 0, 'nobody looks any more');
});

test('a piece may take many deadlines while bytes of it are taken, and one when none are', () => {
  const { made, wire, stalledAtMs, pass } = watch({ waiting: 1_000_000 });
  made.start();
  for (let i = 0; i < 20; i++) {
    pass(IDLE_MS - 2 * TICK_MS);
    wire.take(1);
  }
  assert.deepEqual(stalledAtMs, []);
  const stoppedMs = 20 * (IDLE_MS - 2 * TICK_MS);
  pass(10 * IDLE_MS);
  assert.equal(stalledAtMs.length, 1);
  const tookMs = (stalledAtMs[0] ?? 0) - stoppedMs;
  assert.ok(tookMs >= IDLE_MS && tookMs <= LATEST_MS + IDLE_MS / 4 + TICK_MS, `after ${tookMs} ms`);
});

test('reporting again that the wire is blocked does not extend the deadline', () => {
  const { made, stalledAtMs, pass } = watch({ waiting: 1000 });
  made.start();
  pass(10 * IDLE_MS, () => {
    if (stalledAtMs.length === 0) made.start();
  });
  const [atMs = 0] = stalledAtMs;
  assert.ok(atMs >= IDLE_MS && atMs <= LATEST_MS, `after ${atMs} ms`);
});

test('when everything is written the watch rests until the wire is blocked again', () => {
  const { made, wire, timer, stalledAtMs, pass } = watch({ waiting: 1000 });
  made.start();
  wire.take(1000);
  pass(IDLE_MS);
  assert.equal(timer.size, 0, 'the look finds it out by itself');
  pass(100 * IDLE_MS);
  assert.deepEqual(stalledAtMs, []);
  wire.waiting = 5;
  made.start();
  pass(IDLE_MS - TICK_MS);
  assert.deepEqual(stalledAtMs, [], 'the time before does not count');
  pass(IDLE_MS);
  assert.equal(stalledAtMs.length, 1);
});

test('a wire that was unblocked for a moment gets the full deadline again', () => {
  const { made, wire, stalledAtMs, pass } = watch({ waiting: 1000 });
  made.start();
  pass(IDLE_MS - TICK_MS);
  wire.take(1000);
  wire.waiting = 1000;
  made.start();
  pass(IDLE_MS - TICK_MS);
  assert.deepEqual(stalledAtMs, []);
  pass(IDLE_MS);
  assert.equal(stalledAtMs.length, 1);
});

test('a resting watch reports nothing, and starts with the full deadline', () => {
  const { made, stalledAtMs, pass } = watch({ waiting: 1000 });
  made.start();
  pass(IDLE_MS - TICK_MS);
  made.stop();
  pass(10 * IDLE_MS);
  assert.deepEqual(stalledAtMs, []);
  made.start();
  pass(IDLE_MS - TICK_MS);
  assert.deepEqual(stalledAtMs, []);
  pass(IDLE_MS);
  assert.equal(stalledAtMs.length, 1);
});

test('a closed watch leaves the timer at once, and the watch of a closed wire at its next check', () => {
  const ended = watch({ waiting: 1000 });
  ended.made.start();
  assert.equal(ended.timer.size, 1);
  ended.made.close();
  assert.equal(ended.timer.size, 0);

  const closed = watch({ waiting: 1000 });
  closed.made.start();
  closed.wire.close();
  closed.pass(10 * IDLE_MS);
  assert.deepEqual([closed.timer.size, closed.stalledAtMs], [0, []]);
});

test('the deadline is read at each check, so that a new one applies at once', () => {
  const { made, limits, stalledAtMs, pass } = watch({ waiting: 1000 });
  made.start();
  limits.idleMs = 10 * IDLE_MS;
  pass(9 * IDLE_MS);
  assert.deepEqual(stalledAtMs, []);
  limits.idleMs = IDLE_MS;
  pass(2 * IDLE_MS);
  assert.equal(stalledAtMs.length, 1);
});
