/** What the event log says of writes. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { test } from 'node:test';
import fastify from 'fastify';
import { LbError } from '../../../src/contract/errors.ts';
import type { AdminApp } from '../../../src/primary/admin/app.ts';
import { recordAnswers } from '../../../src/primary/admin/records.ts';
import { waitFor } from '../../support/wait.ts';
import { startAdmin } from './harness.ts';

const ACME = '/api/v1/clients/acme';

test('a write is told with who, from where, and what it has changed', async (t) => {
  const { call, parts } = await startAdmin(t, { settings: { token: 'secret' } });
  const headers = { authorization: 'Bearer secret' };
  await call({ method: 'PUT', path: ACME, headers, body: { capacity: 100, refillPerSecond: 5 } });
  await call({ method: 'PATCH', path: ACME, headers, body: { capacity: 200, refillPerSecond: 5 } });
  await call({ method: 'POST', path: `${ACME}/keys`, headers, body: { name: '<b>' } });
  await call({ method: 'POST', path: `${ACME}/bucket/reset`, headers });
  await call({ method: 'POST', path: '/api/v1/pools/app/backends/one/drain', headers });
  await call({ method: 'POST', path: '/api/v1/reload', headers });
  await call({ method: 'DELETE', path: ACME, headers });
  const { entries } = parts.events;
  assert.deepEqual(
    entries.filter(({ kind }) => kind === 'admin').map(({ text, subject }) => [text, subject]),
    [
      ['client acme was created', 'client acme'],
      ['client acme: capacity 100 → 200', 'client acme'],
      ['API key k1 of client acme was issued', 'client acme'],
      ['the buckets of acme were filled', 'client acme'],
      ['drain of backend one of pool app', 'app/one'],
      ['a reload was asked for: revision 2', 'configuration'],
      ['client acme was deleted', 'client acme'],
    ],
  );
  const { actor, data } = entries[1]!;
  assert.deepEqual([actor?.who, actor?.from], ['admin', '127.0.0.1']);
  assert.match(actor?.requestId ?? '', /^[0-9a-f-]{36}$/);
  const view = { clientId: 'acme', mode: 'limit', capacity: 100, refillPerSecond: 5, limits: {} };
  assert.deepEqual(data, { method: 'PATCH', path: ACME, before: view, after: { ...view, capacity: 200 } });
  assert.doesNotMatch(JSON.stringify(entries), /secret-1-key/, 'the key itself is told to its owner alone');
});

test('a write is told once it has taken effect, before the workers are', async (t) => {
  const { call, parts } = await startAdmin(t);
  const toldBefore: number[] = [];
  parts.events.onEvent(() => toldBefore.push(parts.told));
  await call({ method: 'POST', path: '/api/v1/clients', body: { clientId: 'acme' } });
  await call({ method: 'PUT', path: ACME, body: {} });
  await call({ method: 'PATCH', path: ACME, body: {} });
  await call({ method: 'POST', path: `${ACME}/keys` });
  await call({ method: 'DELETE', path: `${ACME}/keys/k1` });
  await call({ method: 'DELETE', path: ACME });
  assert.deepEqual([toldBefore, parts.told], [[0, 1, 2, 3, 4, 5], 6]);
});

test('what changes nothing is no event; what may have changed something is', async (t) => {
  const { call, parts } = await startAdmin(t);
  await call({ method: 'PUT', path: ACME, body: { capacity: 1 } });
  await call({ method: 'DELETE', path: ACME });
  await call({ method: 'POST', path: '/api/v1/pools/app/backends/nowhere/drain' });
  await call({ path: ACME });
  assert.equal(parts.events.entries.length, 0);
  parts.clients.failure = new LbError('database_unavailable', 'secret host db-7');
  await call({ method: 'DELETE', path: ACME });
  const { severity, text, subject, actor } = parts.events.entries[0]!;
  assert.deepEqual(
    [severity, text, subject, actor?.who],
    ['warning', `DELETE ${ACME} failed: the database cannot be reached`, 'client acme', 'none'],
  );
});

test('a write is told although its caller has left before the answer', async (t) => {
  const { url, parts } = await startAdmin(t);
  const gate = Promise.withResolvers<void>();
  parts.clients.gate = gate.promise;
  const headers = { 'content-type': 'application/json' };
  const sent = request(`${url}${ACME}`, { method: 'PUT', agent: false, headers });
  t.after(() => sent.destroy());
  sent.on('error', () => undefined);
  sent.end('{}');
  const begun = t.mock.method(parts.clients, 'put');
  await waitFor('the call', () => begun.mock.callCount() === 1);
  sent.destroy();
  gate.resolve();
  await waitFor('the event', () =>
    parts.events.entries.some(({ text }) => text === 'client acme was created'),
  );
});

test('the refused callers of one /64 leave one line per second, and hide nobody else', async (t) => {
  const app = fastify();
  t.after(() => app.close());
  const lines: { peer: string }[] = [];
  const logger = { warn: (facts: { peer: string }) => lines.push(facts) };
  const parts = { logger, gauges: { countAdminRequest: () => undefined } };
  recordAnswers(app as unknown as AdminApp, parts as never);
  app.get('/', async (_, reply) => reply.code(401).send());
  for (let i = 1; i <= 120; i++) await app.inject({ url: '/', remoteAddress: `2001:db8::${i}` });
  await app.inject({ url: '/', remoteAddress: '192.0.2.1' });
  assert.ok(lines.some(({ peer }) => peer === '192.0.2.1'));
  assert.ok(lines.length < 10, `${lines.length} lines`);
});
