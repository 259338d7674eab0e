import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Decision } from '../../src/limit/decision.ts';
import { RateLimitFields, retryAfterSec } from '../../src/limit/ratelimit-headers.ts';
import { decisionOf } from './decision-of.ts';

const NOW_SEC = 1_800_000_000;
const CLOCK = { wallMs: () => NOW_SEC * 1000 };

function decision(fields: Partial<Decision> = {}): Decision {
  return decisionOf({ refillPerSecond: 50, remaining: 99, resetMs: 20, ...fields });
}

function fields(of: Decision): string[] {
  const lines = new RateLimitFields('draft').lines(of, '', CLOCK).split('\r\n');
  assert.equal(lines.pop(), '', 'every line has its end');
  return lines.flatMap((line) => line.split(': ', 2));
}

test('B31: RateLimit fields have the documented form', () => {
  const golden: [Decision, string, string, number | null][] = [
    [decision(), '"default";q=100;w=2', '"default";r=99;t=1', null],
    [decision({ remaining: 100, resetMs: 0 }), '"default";q=100;w=2', '"default";r=100;t=0', null],
    [
      decision({ capacity: 10, refillPerSecond: 0.001, remaining: 0, resetMs: 1_000_000, allowed: true }),
      '"default";q=10;w=10000',
      '"default";r=0;t=1000',
      null,
    ],
    [
      decision({ allowed: false, remaining: 0, retryAfterMs: 12.3, resetMs: 12.3 }),
      '"default";q=100;w=2',
      '"default";r=0;t=1',
      1,
    ],
    [
      decision({
        capacity: 5,
        refillPerSecond: 1000,
        remaining: 0,
        allowed: false,
        retryAfterMs: 1,
        resetMs: 1,
      }),
      '"default";q=5;w=1',
      '"default";r=0;t=1',
      1,
    ],
    [
      decision({ capacity: 100, refillPerSecond: 100 / 60, remaining: 3, resetMs: 58_200 }),
      '"default";q=100;w=60',
      '"default";r=3;t=59',
      null,
    ],
    [
      decision({ allowed: false, remaining: 2, retryAfterMs: 1500, resetMs: 7_000 }),
      '"default";q=100;w=2',
      '"default";r=2;t=7',
      7,
    ],
    [
      decision({ allowed: false, retryAfterMs: -1, remaining: 100, resetMs: 0 }),
      '"default";q=100;w=2',
      '"default";r=100;t=0',
      null,
    ],
    [
      decision({ shadowed: true, remaining: 0, resetMs: 400 }),
      '"default";q=100;w=2',
      '"default";r=0;t=1',
      null,
    ],
    [
      decision({ policyName: 'a "b" \\c' }),
      '"a \\"b\\" \\\\c";q=100;w=2',
      '"a \\"b\\" \\\\c";r=99;t=1',
      null,
    ],
    [decision({ policyName: 'käse\n' }), '"k%C3%A4se%0A";q=100;w=2', '"k%C3%A4se%0A";r=99;t=1', null],
  ];
  for (const [of, policy, limit, retryAfter] of golden) {
    assert.deepEqual(fields(of), ['RateLimit-Policy', policy, 'RateLimit', limit]);
    assert.equal(retryAfterSec(of), retryAfter);
  }
});

test('B31: RateLimit fields are always a structured field, and Retry-After is a whole number ≥ 1 and ≥ t', () => {
  const arbitrary = fc.record({
    policyName: fc.string({ unit: 'binary' }),
    capacity: fc.integer({ min: 1, max: 1_000_000_000 }),
    refillPerSecond: fc.double({ min: 1e-6, max: 1e9, noNaN: true }),
    remaining: fc.nat(),
    retryAfterMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
    resetMs: fc.double({ min: 0, max: 1e9, noNaN: true }),
  });
  fc.assert(
    fc.property(arbitrary, (random) => {
      const refused = decision({ ...random, allowed: false });
      const [, policy = '', , limit = ''] = fields(refused);
      assert.match(policy, /^"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*";q=\d+;w=[1-9]\d*$/);
      assert.match(limit, /^"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*";r=\d+;t=\d+$/);
      const retryAfter = retryAfterSec(refused);
      assert.ok(Number.isInteger(retryAfter) && retryAfter !== null && retryAfter >= 1);
      assert.ok(retryAfter >= Number(/t=(\d+)$/.exec(limit)?.[1]));
    }),
  );
});

test('RateLimit fields name the policies of a route with several in one list', () => {
  const members = [
    decision({ policyName: 'second', capacity: 10, refillPerSecond: 10, remaining: 9 }),
    decision({
      policyName: 'day',
      capacity: 86_400,
      refillPerSecond: 1,
      remaining: 5,
      resetMs: 86_395_000,
    }),
  ];
  assert.deepEqual(fields(decision({ members })), [
    'RateLimit-Policy',
    '"second";q=10;w=1, "day";q=86400;w=86400',
    'RateLimit',
    '"second";r=9;t=1, "day";r=5;t=86395',
  ]);
});

test('RateLimit fields are cached, but follow the limits of each client', () => {
  const own = decision({ capacity: 7, refillPerSecond: 0.5, remaining: 6, resetMs: 2_000 });
  const written = new RateLimitFields('draft');
  const policyOf = (of: Decision) => written.lines(of, '', CLOCK).split('\r\n')[0];
  for (let i = 0; i < 2; i++) {
    assert.equal(policyOf(decision()), 'RateLimit-Policy: "default";q=100;w=2');
    assert.equal(policyOf(own), 'RateLimit-Policy: "default";q=7;w=14');
  }
});

test('with headers: legacy, RateLimit fields are X-RateLimit-* of the deciding policy, with the reset in epoch seconds', () => {
  const legacy = new RateLimitFields('legacy');
  const members = [decision({ policyName: 'second' }), decision({ policyName: 'day' })];
  const counting = decision({ remaining: 3, resetMs: 58_200, members });
  assert.equal(
    legacy.lines(counting, 'Server: x\r\n', CLOCK),
    `X-RateLimit-Limit: 100\r\nX-RateLimit-Remaining: 3\r\nX-RateLimit-Reset: ${NOW_SEC + 59}\r\n`,
  );
});

test('RateLimit fields do not change a backend’s own X-RateLimit fields', () => {
  const legacy = new RateLimitFields('legacy');
  for (const lines of ['x-ratelimit-limit: 5\r\n', 'Server: x\r\nX-RateLimit-Reset: 5\r\n']) {
    assert.equal(legacy.lines(decision(), lines, CLOCK), '');
  }
  assert.notEqual(legacy.lines(decision(), 'X-RateLimit-Other: 1\r\n', CLOCK), '');
});

test('with headers: off, there are no RateLimit fields', () => {
  assert.equal(new RateLimitFields('off').lines(decision(), '', CLOCK), '');
});
