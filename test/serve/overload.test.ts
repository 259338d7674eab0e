import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, metricOf, poolOf, startNamed } from '../cluster/support.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

const ANSWERS = 20;

test('B12: an overloaded worker refuses requests within 10 ms, while the admin port answers and says so', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const pools = poolOf([backend]);
  const shed = { pools, overload: { heapPercent: { soften: 1, shed: 1 } } };
  // Of a heap of 100 MiB a worker uses more than one per cent.
  const env = { NODE_OPTIONS: '--max-old-space-size=100' };
  const sluice = await startSluice({ config: shed, env });
  t.after(() => sluice.stop());
  const isOverloaded = () => sluice.jsonLines(({ overload }) => overload === 'shedding').length > 0;
  await waitFor('the worker to be overloaded', isOverloaded);
  const answer = await fetch(sluice.proxyUrl);
  assert.deepEqual([answer.status, answer.headers.get('retry-after')], [503, '1']);
  assert.match(await answer.text(), /\/overload"/);
  // The first one runs code that is not compiled yet, and other tests use the processors.
  for (let i = 1; i < ANSWERS; i++) assert.equal((await ask(sluice.proxyUrl)).status, 503);
  const lines = await waitFor('the access lines', () => {
    const shedLines = sluice.jsonLines(({ reason }) => reason === 'overload');
    return shedLines.length === ANSWERS && shedLines;
  });
  const fastMs = Math.min(...lines.map(({ totalMs }) => Number(totalMs)));
  assert.ok(fastMs < 10, `${fastMs} ms`);
  for (const path of ['/livez', '/readyz', '/metrics'])
    assert.equal((await ask(sluice.adminUrl + path)).status, 200, path);
  const level = () => metricOf(sluice.adminUrl, 'sluice_overload_level');
  await waitFor('the level in the metrics', async () => (await level()) === 2);
  const { body } = await askJson(`${sluice.adminUrl}/api/v1/workers`);
  const [worker] = body.items as Record<string, unknown>[];
  assert.deepEqual([worker?.overload, worker?.overloadReason], ['shedding', 'heap']);
  const shedCount = () => metricOf(sluice.adminUrl, 'sluice_shed_total', { reason: 'overload' });
  await waitFor('the metric to count each refusal', async () => (await shedCount()) === ANSWERS);

  sluice.configure({ pools });
  sluice.signal('SIGHUP');
  await waitFor('requests to be served again', async () => (await ask(sluice.proxyUrl)).text === 'a');
  await waitFor('the level to fall', async () => (await level()) === 0);
  const levels = sluice.jsonLines(({ overload }) => overload !== undefined);
  assert.deepEqual(
    levels.map(({ overload, reason }) => [overload, reason]),
    [
      ['shedding', 'heap'],
      ['none', null],
    ],
  );
});
