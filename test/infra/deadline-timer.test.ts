import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { systemClock } from '../../src/contract/clock.ts';
import { Deadline, DeadlineTimer } from '../../src/infra/deadline-timer.ts';
import { waitFor } from '../support/wait.ts';
import { listen, tcpPort } from './wire/pairs.ts';

function fakeTimer() {
  let nowMs = 0;
  const errors: unknown[] = [];
  const timer = new DeadlineTimer({
    clock: { monotonicMs: () => nowMs, wallMs: () => nowMs },
    tickMs: 100,
    onError: (error) => errors.push(error),
  });
  return {
    timer,
    errors,
    /** Time passes while the event loop is blocked. */
    stallUntil: (ms: number) => {
      nowMs = ms;
    },
    at: (ms: number) => {
      nowMs = ms;
      timer.tick();
    },
  };
}

test('a deadline fires once, not before its delay and at most one tick after it', () => {
  const { timer, at } = fakeTimer();
  let fired = 0;
  const deadline = new Deadline(() => fired++);
  timer.arm(deadline, 250);
  for (let ms = 0; ms < 250; ms += 10) at(ms);
  assert.equal(fired, 0);
  at(350);
  assert.equal(fired, 1);
  at(2000);
  assert.equal(fired, 1);
  assert.equal(timer.size, 0);
});

test('a disarmed deadline never fires, and arming again restarts it', () => {
  const { timer, at } = fakeTimer();
  const fired: string[] = [];
  const disarmed = new Deadline(() => fired.push('disarmed'));
  const renewed = new Deadline(() => fired.push('renewed'));
  timer.arm(disarmed, 100);
  timer.arm(renewed, 100);
  at(90);
  timer.disarm(disarmed);
  timer.arm(renewed, 500);
  at(400);
  assert.deepEqual(fired, []);
  at(800);
  assert.deepEqual(fired, ['renewed']);
});

test('a deadline armed after a stall of the event loop has its full time', () => {
  const { timer, at, stallUntil } = fakeTimer();
  at(100);
  stallUntil(6_000);
  let fired = 0;
  timer.arm(new Deadline(() => fired++), 5_000);
  at(6_010);
  at(10_999);
  assert.equal(fired, 0);
  at(11_100);
  assert.equal(fired, 1);
});

test('after a stall of the event loop, bytes that arrived in time are read before deadlines are checked', async (t) => {
  const timer = new DeadlineTimer({
    clock: systemClock,
    tickMs: 10,
    onError: (error) => assert.ifError(error),
  });
  timer.start();
  t.after(() => timer.stop());
  const server = createServer();
  await listen(t, server, 'TCP');
  const client = connect(tcpPort(server));
  t.after(() => client.destroy());
  const [accepted] = (await once(server, 'connection')) as [Socket];
  t.after(() => accepted.destroy());
  const events: string[] = [];
  const deadline = new Deadline(() => events.push('deadline'));
  accepted.on('data', () => {
    events.push('data');
    timer.disarm(deadline);
  });
  timer.arm(deadline, 50);
  await new Promise((resolve) => client.write('x', resolve));
  for (const endMs = performance.now() + 200; performance.now() < endMs; );
  await waitFor('one of them', () => events.length > 0);
  assert.deepEqual(events, ['data']);
});

test('a tick after a stall is one of the time when it was due: reads may stall the loop again before it comes', async (t) => {
  let reads = 0;
  let readClock = (): number => 0;
  const clock = { monotonicMs: () => readClock(), wallMs: () => 0 };
  const timer = new DeadlineTimer({ clock, tickMs: 1, onError: (error) => assert.ifError(error) });
  timer.start();
  t.after(() => timer.stop());
  let fired = 0;
  const deadline = new Deadline(() => {
    fired++;
  });
  timer.arm(deadline, 50);
  // The interval finds 20, which is late. Until the tick comes, 980 ms pass, and then the awaited byte is read.
  readClock = () => {
    reads++;
    if (reads === 1) process.nextTick(() => setImmediate(() => timer.disarm(deadline)));
    return reads === 1 ? 20 : 1_000;
  };
  await waitFor('the tick after that', () => reads > 2);
  assert.equal(fired, 0);
});

test('a firing deadline may arm itself and others, and one that throws does not stop the others', () => {
  const { timer, at, errors } = fakeTimer();
  let again = 0;
  let other = 0;
  const second = new Deadline(() => other++);
  const first: Deadline = new Deadline(() => {
    again++;
    timer.arm(first, 100);
    timer.arm(second, 100);
    throw new Error('boom');
  });
  timer.arm(first, 100);
  at(300);
  assert.deepEqual([again, other, errors.length], [1, 0, 1]);
  at(600);
  assert.deepEqual([again, other, errors.length], [2, 1, 2]);
});

test('the list is empty after ten thousand deadlines were armed and disarmed', () => {
  const { timer, at } = fakeTimer();
  const all = Array.from({ length: 10_000 }, () => new Deadline(() => assert.fail('was disarmed')));
  for (const deadline of all) timer.arm(deadline, 100);
  for (const deadline of all) timer.arm(deadline, 200);
  assert.equal(timer.size, 10_000);
  for (const deadline of all) timer.disarm(deadline);
  at(100);
  assert.equal(timer.size, 0);
});

test('a timer without deadlines stops ticking, and the next deadline is as exact as any', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let nowMs = 0;
  const timer = new DeadlineTimer({
    clock: { monotonicMs: () => nowMs, wallMs: () => nowMs },
    tickMs: 100,
    onError: (error) => assert.ifError(error),
  });
  const pass = (ms: number): void => {
    nowMs += ms;
    t.mock.timers.tick(ms);
  };
  const firedAtMs: number[] = [];
  const deadline = new Deadline(() => firedAtMs.push(nowMs));
  timer.arm(deadline, 100);
  timer.start();
  for (let i = 0; i < 5; i++) pass(100);
  assert.equal(timer.resting, false, 'it was busy a moment ago');
  for (let i = 0; i < 20; i++) pass(100);
  assert.equal(timer.resting, true);
  assert.equal(firedAtMs.length, 1);

  pass(3_600_050);
  const armedAtMs = nowMs;
  timer.arm(deadline, 250);
  assert.equal(timer.resting, false);
  for (let i = 0; i < 60; i++) pass(10);
  const lateMs = (firedAtMs[1] ?? Number.NaN) - armedAtMs - 250;
  assert.ok(lateMs >= 0 && lateMs <= 200, `${lateMs} ms late`);

  for (let i = 0; i < 20; i++) pass(100);
  assert.equal(timer.resting, true);
  timer.stop();
  timer.arm(deadline, 100);
  assert.equal(timer.resting, true, 'one that was stopped stays so');
});

test('a removed deadline leaves the list at once, even while others fire, and may be armed again', () => {
  const { timer, at } = fakeTimer();
  const fired: string[] = [];
  const others = ['a', 'b', 'c', 'd'].map((name) => new Deadline(() => fired.push(name)));
  const remover = new Deadline(() => {
    fired.push('remover');
    for (const deadline of others) timer.remove(deadline);
  });
  for (const deadline of [...others, remover]) timer.arm(deadline, 100);
  assert.equal(timer.size, 5);
  at(300);
  assert.deepEqual(fired, ['remover'], 'the last one armed is looked at first');
  assert.equal(timer.size, 0);

  const [first, second] = others as [Deadline, Deadline];
  timer.arm(first, 100);
  timer.arm(second, 100);
  timer.remove(first);
  timer.remove(first);
  assert.equal(timer.size, 1);
  timer.arm(first, 200);
  at(700);
  assert.deepEqual(fired, ['remover', 'a', 'b']);
  assert.equal(timer.size, 0);
});

test('a late tick does not fire after the timer was stopped', async () => {
  let nowMs = 0;
  let fired = 0;
  const timer = new DeadlineTimer({
    clock: { monotonicMs: () => nowMs, wallMs: () => nowMs },
    tickMs: 1,
    onError: (error) => assert.ifError(error),
  });
  timer.start();
  timer.arm(new Deadline(() => fired++), 10);
  // The clock stands still until the first tick, which then sees a stall of the event loop.
  nowMs = 1_000;
  await new Promise<void>((resolve) => {
    setTimeout(() => {
      timer.stop();
      // After the immediate of the tick.
      setImmediate(() => setImmediate(resolve));
    }, 1);
  });
  assert.equal(fired, 0);
});
