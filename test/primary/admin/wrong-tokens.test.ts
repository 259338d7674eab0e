import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WrongTokens } from '../../../src/primary/admin/wrong-tokens.ts';
import { FakeTime } from '../../support/fake-time.ts';
import { type Admin, assertProblem, startAdmin } from './harness.ts';

const TOKEN = 'the right token of this port';
const CLIENTS = '/api/v1/clients';
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** Guesses until one is throttled, and returns how many were not. */
async function guess({ call }: Admin): Promise<number> {
  for (let count = 0; count < 20; count += 1) {
    const answer = await call({ path: CLIENTS, headers: bearer(`guess ${count}`) });
    if (answer.status === 429) return count;
    assertProblem(answer, 401);
  }
  return Number.POSITIVE_INFINITY;
}

test('after five wrong tokens further ones get 429 with Retry-After, and one line in the log', async (t) => {
  const admin = await startAdmin(t, { settings: { token: TOKEN } });
  assert.equal(await guess(admin), 5);
  const writes = ['POST', 'DELETE'].map((method) => ({ method, path: `${CLIENTS}/a`, headers: bearer('x') }));
  for (const call of [
    ...writes,
    { path: '/metrics', headers: bearer('') },
    { path: '/nowhere', headers: bearer('y') },
  ]) {
    const answer = await admin.call(call);
    assertProblem(answer, 429);
    assert.match(String(answer.headers['retry-after']), /^([1-9]|10)$/);
    assert.equal(answer.headers['www-authenticate'], undefined);
  }
  const lines = admin.parts.logLines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const throttled = lines.filter(({ msg }) => String(msg).startsWith('too many wrong admin tokens'));
  assert.deepEqual(
    throttled.map(({ level, peer, retryAfterSec }) => [level, peer, retryAfterSec]),
    [[40, '127.0.0.1', 10]],
  );
  const refused = lines.filter(({ msg }) => msg === 'admin call refused').length;
  assert.ok(refused >= 1 && refused <= 5, `${refused} lines`);
  assert.equal(lines.filter(({ msg }) => msg === 'admin write').length, 0);
  assert.ok(!admin.parts.logLines.some((line) => line.includes('guess 1')), 'no token in the log');
});

test('nobody can lock an operator out: the right token and calls without one are answered as ever', async (t) => {
  const admin = await startAdmin(t, { settings: { token: TOKEN } });
  await guess(admin);
  assertProblem(await admin.call({ path: CLIENTS }), 401);
  assert.equal((await admin.call({ path: '/livez', headers: bearer('x') })).status, 200);
  assert.equal((await admin.call({ path: CLIENTS, headers: bearer(TOKEN) })).status, 200);
  // Whoever has the token does not guess.
  assert.equal(await guess(admin), 5);
});

test('calls without a token are never throttled', async (t) => {
  const admin = await startAdmin(t, { settings: { token: TOKEN } });
  for (let count = 0; count < 12; count += 1) assertProblem(await admin.call({ path: '/metrics' }), 401);
});

test('each period is twice as long as the last, ten minutes at most, and quiet ends them', () => {
  const time = new FakeTime();
  const tokens = new WrongTokens(time.clock);
  const fail = () => tokens.add('192.0.2.1');
  for (let count = 0; count < 5; count += 1) assert.equal(fail().retryAfterSec, 0);
  const periods: number[] = [];
  for (let count = 0; count < 9; count += 1) {
    const { retryAfterSec, first } = fail();
    assert.equal(first, true);
    periods.push(retryAfterSec);
    time.nowMs += 1_000;
    assert.deepEqual(fail(), { retryAfterSec: retryAfterSec - 1, first: false });
    time.nowMs += retryAfterSec * 1_000 - 1_000;
  }
  assert.deepEqual(periods, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
  time.nowMs += 600_000;
  assert.equal(fail().retryAfterSec, 0);
});

test('a wrong token now and then is no guessing: the count begins anew after a minute', () => {
  const time = new FakeTime();
  const tokens = new WrongTokens(time.clock);
  for (let count = 0; count < 40; count += 1) {
    assert.equal(tokens.add('192.0.2.1').retryAfterSec, 0);
    time.nowMs += 15_001;
  }
});

test('addresses are told apart, an IPv6 network of 64 bits counts as one, and the table is bounded', () => {
  const time = new FakeTime();
  const tokens = new WrongTokens(time.clock);
  for (let count = 0; count < 6; count += 1) tokens.add(`2001:db8::${count}`);
  assert.ok(tokens.add('2001:db8::ffff').retryAfterSec > 0);
  assert.equal(tokens.add('2001:db8:0:1::1').retryAfterSec, 0);
  for (let count = 0; count < 6; count += 1) tokens.add('::ffff:192.0.2.1');
  assert.ok(tokens.add('192.0.2.1').retryAfterSec > 0, 'a mapped address is the IPv4 address');
  // As many others push it out.
  for (let count = 0; count < 1_024; count += 1) tokens.add(`10.0.${count >> 8}.${count & 255}`);
  assert.equal(tokens.add('2001:db8::1').retryAfterSec, 0);
});
