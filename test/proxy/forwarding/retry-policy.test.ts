import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decideRetry, type FailedAttempt } from '../../../src/proxy/retry-policy.ts';

const FAILED: FailedAttempt = {
  code: 'connect_failed',
  retryable: true,
  method: 'POST',
  bodyIntact: true,
  connectFailures: 1,
  replaced: false,
};
const DEAD: FailedAttempt = { ...FAILED, code: 'upstream_reset', method: 'GET', connectFailures: 0 };

test('B8: when connecting fails, a request of any method goes to at most two further backends', () => {
  assert.equal(decideRetry(FAILED), 'other');
  assert.equal(decideRetry({ ...FAILED, connectFailures: 2 }), 'other');
  assert.equal(decideRetry({ ...FAILED, connectFailures: 3 }), 'none');
  for (const code of ['overload', 'backend_busy'] as const)
    assert.equal(decideRetry({ ...FAILED, code }), 'other');
});

test('B10: a reused connection that died is replaced once, for idempotent methods only', () => {
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE']) {
    assert.equal(decideRetry({ ...DEAD, method }), 'fresh');
  }
  for (const method of ['POST', 'PATCH', 'PROPFIND']) assert.equal(decideRetry({ ...DEAD, method }), 'none');
  assert.equal(decideRetry({ ...DEAD, replaced: true }), 'none');
});

test('B8: a request is not retried once its body was read, or when the failure is not retryable', () => {
  assert.equal(decideRetry({ ...DEAD, bodyIntact: false }), 'none');
  assert.equal(decideRetry({ ...DEAD, retryable: false }), 'none');
  assert.equal(decideRetry({ ...FAILED, bodyIntact: false }), 'none');
  for (const code of ['upstream_invalid', 'upstream_timeout'] as const) {
    assert.equal(decideRetry({ ...DEAD, code }), 'none');
  }
});
