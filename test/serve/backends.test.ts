import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, poolOf, QUICK_CHECK, startNamed } from '../cluster/support.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

test('without a healthy backend the answer is 503 with Retry-After', async (t) => {
  const dead = await startNamed('dead');
  await dead.close();
  const sluice = await startSluice({ config: { pools: poolOf([dead], { healthCheck: QUICK_CHECK }) } });
  t.after(() => sluice.stop());
  const answer = await ask(sluice.proxyUrl);
  assert.equal(answer.status, 503);
  assert.match(String(answer.headers['retry-after']), /^[1-9]\d*$/);
  assert.match(answer.text, /problems\/no_backend/);
});

test('an operator drains a backend and enables it again', async (t) => {
  const [a, b] = await Promise.all([startNamed('a'), startNamed('b')]);
  t.after(() => a.close());
  t.after(() => b.close());
  const sluice = await startSluice({ config: { workers: 2, pools: poolOf([a, b]) } });
  t.after(() => sluice.stop());
  const backendUrl = `${sluice.adminUrl}/api/v1/pools/app/backends/${encodeURIComponent(`127.0.0.1:${b.port}`)}`;
  assert.equal((await askJson(`${backendUrl}/drain`, { method: 'POST' })).status, 200);
  await waitFor('only the other backend to answer', async () => {
    const names = await Promise.all(Array.from({ length: 8 }, async () => (await ask(sluice.proxyUrl)).text));
    return names.every((name) => name === 'a');
  });
  assert.equal((await askJson(`${backendUrl}/enable`, { method: 'POST' })).status, 200);
  await waitFor('both backends to answer', async () => {
    const names = await Promise.all(Array.from({ length: 8 }, async () => (await ask(sluice.proxyUrl)).text));
    return new Set(names).size === 2;
  });
});

test('in an outage the primary hears of `fall` failed connections per second and worker, not of every request', async (t) => {
  const backend = await startNamed('a');
  const healthCheck = { ...QUICK_CHECK, interval: '60s' };
  const sluice = await startSluice({ config: { workers: 1, pools: poolOf([backend], { healthCheck }) } });
  t.after(() => sluice.stop());
  assert.equal((await ask(sluice.proxyUrl)).status, 200);
  await backend.close();
  const startMs = performance.now();
  for (let i = 0; i < 20; i++) {
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask(sluice.proxyUrl)));
    // 503 once it is known to be down.
    assert.ok(answers.every(({ status }) => status === 502 || status === 503));
  }
  assert.equal((await ask(sluice.proxyUrl)).status, 503);
  const seconds = (performance.now() - startMs) / 1000;
  const { body } = await askJson(`${sluice.adminUrl}/api/v1/pools`);
  const [pool] = body.items as { backends: { state: string; consecutiveFailures: number }[] }[];
  const { state, consecutiveFailures = Number.NaN } = pool?.backends[0] ?? {};
  assert.equal(state, 'down');
  // One report may lie before, one behind these seconds.
  assert.ok(
    consecutiveFailures <= healthCheck.fall * (seconds + 2),
    `${consecutiveFailures} in ${seconds} s`,
  );
});
