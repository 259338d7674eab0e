/** `POST /api/v1/explain` of the whole product: a worker answers for the settings in force, with live levels. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, metricOf, poolOf, QUICK_CHECK, startNamed, workersOf } from '../cluster/support.ts';
import { startBackend } from '../support/backend.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

interface Explained {
  worker: number;
  route: string | null;
  refusal: { status: number; reason: string } | null;
  policies: { policy: string; level: number; capacity: number }[];
  backends: { id: string; state: string; wouldBeTried: boolean; why: string }[];
  steps: string[];
}

test('a request is explained by a serving worker, with live levels and states, and is not counted; who is limited is listed', async (t) => {
  const backends = [await startNamed('a'), await startNamed('b')];
  for (const backend of backends) t.after(() => backend.close());
  const config = {
    workers: 2,
    pools: poolOf(backends, { healthCheck: QUICK_CHECK }),
    routes: [
      { name: 'api', match: { path: '/api/' }, pool: 'app', rateLimit: { policy: 'slow' } },
      { name: 'rest', pool: 'app', rateLimit: 'off' },
    ],
    rateLimit: { policies: { slow: { capacity: 3, refillPerSecond: 0.001 } } },
  };
  const sluice = await startSluice({ config });
  t.after(() => sluice.stop());
  const explain = async (body: object): Promise<Explained> => {
    const answer = await askJson(`${sluice.adminUrl}/api/v1/explain`, { method: 'POST', body });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body as unknown as Explained;
  };
  const url = `${sluice.proxyUrl}/api/x`;
  let sent = 0;
  const send = async (to: string) => {
    sent++;
    return (await ask(to)).status;
  };
  const fresh = await explain({ url });
  assert.deepEqual([fresh.route, fresh.refusal, fresh.policies[0]?.level], ['api', null, 3]);
  assert.deepEqual(
    fresh.backends.map(({ state, wouldBeTried }) => [state, wouldBeTried]),
    [
      ['up', true],
      ['up', true],
    ],
  );
  await waitFor('the first request to be limited', async () => (await send(url)) === 429);
  const spent = await explain({ url });
  assert.deepEqual([spent.refusal?.status, spent.refusal?.reason], [429, 'limited']);
  const { body: top } = await askJson(`${sluice.adminUrl}/api/v1/top?by=limited`);
  const [sender] = top.items as {
    client: string;
    kind: string;
    limitedPerSec: number;
    requestsPerSec: number;
  }[];
  assert.deepEqual([sender?.client, sender?.kind], ['127.0.0.1', 'address']);
  assert.ok(
    sender && sender.limitedPerSec > 0 && sender.requestsPerSec > sender.limitedPerSec,
    JSON.stringify(top),
  );
  assert.equal((await explain({ url: `${sluice.proxyUrl}/` })).route, 'rest');
  const first = fresh.backends[0]?.id ?? '';
  await ask(`${sluice.adminUrl}/api/v1/pools/app/backends/${encodeURIComponent(first)}/drain`, {
    method: 'POST',
  });
  const drained = await waitFor('the worker to know', async () => {
    const said = await explain({ url: `${sluice.proxyUrl}/` });
    return said.backends[0]?.wouldBeTried === false && said;
  });
  assert.deepEqual([drained.backends[0]?.state, drained.backends[1]?.wouldBeTried], ['draining', true]);
  for (let i = 0; i < 20; i++) await explain({ url: `${sluice.proxyUrl}/` });
  await send(`${sluice.proxyUrl}/`);
  await waitFor(
    'the count of the requests that were sent',
    async () => (await metricOf(sluice.adminUrl, 'sluice_requests_total')) === sent,
  );
});

test('while a replaced worker drains, the heaviest callers are those of its replacement', async (t) => {
  const backend = await startBackend((request, response) => {
    if (request.url === '/long') response.write('…');
    else response.end('ok');
  });
  t.after(() => backend.close());
  const config = { workers: 1, pools: poolOf([backend]), timeouts: { drain: '60s' } };
  const sluice = await startSluice({ config });
  t.after(() => sluice.stop());
  const rates = async () => {
    const { body } = await askJson(`${sluice.adminUrl}/api/v1/top`);
    return [body.totalPerSec, (body.items as unknown[]).length];
  };
  const long = await fetch(`${sluice.proxyUrl}/long`);
  for (let i = 0; i < 50; i++) await ask(sluice.proxyUrl);
  await waitFor('a caller', async () => (await rates())[1] === 1);
  const restarted = await askJson(`${sluice.adminUrl}/api/v1/workers/restart`, { method: 'POST' });
  assert.equal(restarted.status, 202);
  await waitFor('no caller of the old worker', async () => String(await rates()) === '0,0');
  const states = (await workersOf(sluice.adminUrl)).map(({ state }) => state);
  assert.deepEqual(states, ['serving', 'draining']);
  await long.body?.cancel();
});
