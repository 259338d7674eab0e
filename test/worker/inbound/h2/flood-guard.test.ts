/** The budgets of a connection with HTTP/2, to the frame. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NoiseKind } from '../../../../src/http2/session-host.ts';
import { FloodGuard } from '../../../../src/worker/inbound/h2/flood-guard.ts';

/** How many frames pass before one is too many. */
function passing(guard: FloodGuard, kind: NoiseKind, ageMs: number): number {
  let count = 0;
  while (!guard.count(kind, ageMs)) count += 1;
  return count;
}

test('200 resets or control frames may come at once, however old the connection is, and 20 a second after them', () => {
  for (const kind of ['reset', 'ping', 'settings'] as const) {
    const guard = new FloodGuard();
    assert.equal(passing(guard, kind, 3_600_000), 200);
    // The one that was too many counts as well.
    assert.equal(passing(guard, kind, 3_601_000), 19);
    assert.equal(passing(guard, kind, 7_200_000), 200);
  }
});

test('20 resets or control frames a second, and one invalid frame, pass for ever', () => {
  for (const [kind, perSec] of [
    ['reset', 20],
    ['ping', 20],
    ['settings', 20],
    ['control', 20],
    ['invalid_frames', 1],
    ['oversized_heads', 1],
  ] as const) {
    const guard = new FloodGuard();
    for (let i = 1; i <= 100_000; i++) assert.equal(guard.count(kind, (i * 1000) / perSec), false);
  }
});

test('each kind has a budget of its own', () => {
  const guard = new FloodGuard();
  assert.equal(passing(guard, 'ping', 0), 200);
  assert.equal(passing(guard, 'settings', 0), 200);
});

test('answers forgive resets, and pieces of bodies forgive control frames only', () => {
  const guard = new FloodGuard();
  assert.equal(passing(guard, 'reset', 0), 200);
  assert.equal(passing(guard, 'ping', 0), 200);
  guard.pieces = 150;
  guard.answers = 11;
  assert.equal(passing(guard, 'reset', 0), 10);
  assert.equal(passing(guard, 'ping', 0), 149);
});

test('answers and pieces that come before a flood are not saved up for it', () => {
  const guard = new FloodGuard();
  guard.pieces = guard.answers = 1_000_000;
  assert.equal(passing(guard, 'reset', 0), 200);
  assert.equal(passing(guard, 'ping', 0), 200);
});

test('bodies and tunnels have a piece for each 4 KiB that has begun, and for each frame of the client', () => {
  const guard = new FloodGuard();
  for (const byteCount of [1, 4_096, 4_097, 65_536]) guard.sent(byteCount);
  assert.equal(guard.pieces, 1 + 1 + 2 + 16);
  for (let i = 0; i < 10; i++) guard.received(1);
  guard.received(16_384);
  assert.deepEqual([guard.pieces, guard.bodyBytes], [20 + 10 + 4, 16_394]);
});

test('heads that became no request, and frames that make no sense: 100 at once, and one for each answer', () => {
  for (const kind of ['oversized_heads', 'invalid_frames'] as const) {
    const guard = new FloodGuard();
    assert.equal(passing(guard, kind, 0), 100);
    guard.answers = 20;
    guard.pieces = 1_000;
    assert.equal(passing(guard, kind, 0), 19);
  }
});

test('frames of no use: 10,000 at once, 20 a second, and one for each piece', () => {
  const guard = new FloodGuard();
  assert.equal(passing(guard, 'control', 0), 10_000);
  guard.pieces = 30;
  assert.equal(passing(guard, 'control', 1_000), 49);
});

test('one head in too many frames is a flood', () => {
  assert.equal(passing(new FloodGuard(), 'continuation', 60_000), 0);
});

test('bytes of neither heads nor bodies: 1 MiB, 1 KiB a second, and 64 for each piece', () => {
  const guard = new FloodGuard();
  guard.headBytes = 1_000;
  guard.bodyBytes = 50_000;
  guard.pieces = 3;
  const allowed = 51_000 + 1_048_576 + 2 * 1_024 + 3 * 64;
  assert.equal(guard.isOverBudget(2_000, allowed), false);
  assert.equal(guard.isOverBudget(2_000, allowed + 1), true);
});
