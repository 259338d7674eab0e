import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  backOffMs,
  decideRetry,
  type FailedAttempt,
  mayRepeat,
  retryAfterMs,
} from '../../../src/proxy/retry-policy.ts';
import { retrySettings } from '../../support/settings.ts';

const FAILED: FailedAttempt = {
  code: 'connect_failed',
  retryable: true,
  repeatable: false,
  switches: false,
  bodyRepeatable: true,
  connectFailures: 1,
  replaced: false,
  retries: 0,
};
const DEAD: FailedAttempt = { ...FAILED, code: 'upstream_reset', repeatable: true, connectFailures: 0 };

function decide(failed: FailedAttempt, attempts = 1) {
  return decideRetry(retrySettings({ attempts }), failed);
}

test('B8: when connecting fails, a request of any method goes to at most two further backends', () => {
  for (const attempts of [0, 1]) {
    assert.equal(decide(FAILED, attempts), 'connect');
    assert.equal(decide({ ...FAILED, connectFailures: 2 }, attempts), 'connect');
    assert.equal(decide({ ...FAILED, connectFailures: 3 }, attempts), null);
  }
  for (const code of ['overload', 'backend_busy'] as const)
    assert.equal(decide({ ...FAILED, code }), 'connect');
});

test('B10: a reused connection that died is replaced once, beside the other attempts', () => {
  assert.equal(decide(DEAD, 0), 'reused_socket');
  assert.equal(decide({ ...DEAD, repeatable: false }), null);
  assert.equal(decide({ ...DEAD, switches: true }, 0), 'reused_socket');
  assert.equal(decide({ ...DEAD, replaced: true }, 0), null);
  assert.equal(decide({ ...DEAD, replaced: true }), 'reset');
});

test('B8: requests that may be sent twice are those of idempotent methods, or all by choice', () => {
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])
    assert.equal(mayRepeat(method, retrySettings()), true);
  for (const method of ['POST', 'PATCH', 'PROPFIND']) {
    assert.equal(mayRepeat(method, retrySettings()), false);
    assert.equal(mayRepeat(method, retrySettings({ nonIdempotent: true })), true);
  }
});

test('B8: resets and time-outs are retried `attempts` times, and nothing of which the body is lost', () => {
  for (const [code, reason] of [
    ['upstream_reset', 'reset'],
    ['upstream_timeout', 'timeout'],
    ['upstream_invalid', null],
    ['internal_error', null],
  ] as const) {
    const failed = { ...DEAD, code, retryable: false };
    assert.equal(decide(failed), reason);
    assert.equal(decide({ ...failed, retries: 1 }), null);
    assert.equal(decide({ ...failed, bodyRepeatable: false }, 9), null);
    assert.equal(decide({ ...failed, repeatable: false }, 9), null);
    assert.equal(decide({ ...failed, switches: true }, 9), null);
  }
  assert.equal(decide({ ...DEAD, bodyRepeatable: false }), null);
  assert.equal(decide({ ...FAILED, bodyRepeatable: false }), null);
});

test('B8: back-off has full jitter, from 25 ms at most up to 250', () => {
  const longest = [0, 1, 2, 3, 4, 9].map((n) => backOffMs(n, 1));
  assert.deepEqual(longest, [25, 50, 100, 200, 250, 250]);
  assert.equal(backOffMs(3, 0), 0);
});

test('Retry-After is read in seconds; a date or nonsense is too long to wait for', () => {
  const of = (value: string) => retryAfterMs(`A: 1\r\nRetry-After:${value}\r\nB: 2\r\n`);
  assert.deepEqual([retryAfterMs('A: 1\r\n'), of(' 0 '), of('1'), of(' 17')], [0, 0, 1_000, 17_000]);
  for (const value of [' Fri, 31 Dec 1999 23:59:59 GMT', ' 1.5', '', ' -1'])
    assert.equal(of(value), Number.POSITIVE_INFINITY);
});

test('a Retry-After of blanks costs no more than its bytes', () => {
  // With a pattern that goes back, this took half a minute, in which the worker served nobody.
  const startMs = performance.now();
  assert.equal(retryAfterMs(`Retry-After: x${' '.repeat(60_000)}x\r\n`), Number.POSITIVE_INFINITY);
  assert.ok(performance.now() - startMs < 1_000);
});
