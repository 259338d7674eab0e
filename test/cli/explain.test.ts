/** `sluice explain` against an admin port whose worker holds tokens on lease. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Explanation } from '../../src/contract/explain.ts';
import { startAdmin } from '../primary/admin/harness.ts';
import { runSluice } from '../support/run-sluice.ts';

const policy = {
  ...{ policy: 'default', capacity: 100, refillPerSecond: 50, cost: 1, leased: 12.5, shadow: false },
  ...{ aloneAmong: null, aloneLevel: null, onStoreFailure: 'local' as const },
};
const explanation: Explanation = {
  ...{ route: 'api', refusal: null, pool: 'app', redirect: null, priority: 'normal', lacking: null },
  ...{ apiKey: 'valid', policies: [policy], backends: [], routes: [], leftOut: 0, steps: ['A.'] },
  client: {
    ...{ clientId: 'acme', clientIp: '192.0.2.1', mode: 'limit', by: 'api_key' },
    match: { client: null, bucketName: 'acme', tombstoneUs: 0 },
  },
  peer: { address: '192.0.2.1', trusted: false },
  path: { asSent: '/', normalForms: ['/'], ambiguous: false },
};

test('explain says what the worker holds on lease, so that a request that passes is no riddle where the bucket is empty', async (t) => {
  const { url, parts } = await startAdmin(t);
  parts.explainer.explain = async () => ({ worker: 1, explanation });
  const { out } = await runSluice(t, ['explain', '--admin', url, 'GET', 'http://a.example/']);
  assert.match(
    out,
    /^limit {4}default: takes 1 of 100, 50 per second, 99 left, 12 on lease to this worker$/m,
  );
});

test('explain does not promise an answer where only backends that are down would be tried', async (t) => {
  const { url, parts } = await startAdmin(t);
  const backends = ['one', '[::1]:8082'].map((id) => ({ id, wouldBeTried: id === 'one', why: '' }));
  parts.explainer.explain = async () => ({ worker: 1, explanation: { ...explanation, backends } });
  const probe = (ok: boolean) => {
    const result = { atMs: 1, ok, durationMs: 1, detail: 'status 200' };
    for (let i = 0; i < 3; i++) parts.registry.record('app', 'one', result);
  };
  const answer = async () => {
    const { out } = await runSluice(t, ['explain', '--admin', url, 'GET', 'http://a.example/']);
    return out.split('\n')[0];
  };
  probe(false);
  assert.equal(await answer(), 'answer   only backends that are down or ejected are tried');
  probe(true);
  assert.equal(await answer(), 'answer   a backend answers');
});
