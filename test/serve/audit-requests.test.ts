/** The audit of requests of a whole Sluice, whose PostgreSQL goes away under load. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, metricOf, poolOf, startMigrated, startNamed } from '../cluster/support.ts';
import { runToEnd } from '../support/child.ts';
import { startLoad } from '../support/load.ts';
import { CLI } from '../support/product.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

test('requests become rows; while PostgreSQL is away no request waits or fails, and its row is written later', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const { postgres, url } = await startMigrated(t);
  const configOf = (requests: string) => ({
    workers: 2,
    pools: poolOf([backend]),
    database: { url },
    routes: [
      { name: 'one', match: { path: '/one' }, pool: 'app', rateLimit: { policy: 'one' } },
      { name: 'rest', pool: 'app' },
    ],
    rateLimit: { policies: { one: { capacity: 1, refillPerSecond: 0.001 } } },
    audit: { requests },
  });
  const sluice = await startSluice({ config: configOf('all') });
  t.after(() => sluice.stop());
  const load = startLoad({ url: `${sluice.proxyUrl}/load?token=secret`, connections: 8, pauseMs: 5 });
  t.after(() => load.stop());
  await load.atLeast(100);
  await postgres.stop();
  await waitFor(
    'the word that the audit of requests cannot be written',
    () =>
      sluice.jsonLines(({ msg }) => /the audit of requests cannot be written/.test(String(msg))).length > 0,
  );
  await load.atLeast(500);
  await postgres.start();
  const { failures, statuses, total, slowestMs } = await load.stop();
  assert.deepEqual([failures, Object.keys(statuses)], [{}, ['200']]);
  // A request that waited for the database would take its deadline, 2 s.
  assert.ok(slowestMs < 1_500, `${slowestMs} ms`);

  const page = async (query: string) => {
    const { status, body } = await askJson(`${sluice.adminUrl}/api/v1/audit/requests?${query}`);
    return status === 200 ? (body as { items: Record<string, unknown>[]; next: string | null }) : null;
  };
  const countRows = async () => {
    let count = 0;
    for (let after = ''; ; ) {
      const { items, next } = (await page(`route=rest&limit=1000${after}`)) ?? { items: [], next: null };
      count += items.length;
      if (next === null) return count;
      after = `&after=${next}`;
    }
  };
  await waitFor(`${total} rows`, async () => (await countRows()) === total, { timeoutMs: 45_000 });
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_audit_dropped_rows_total', { kind: 'request' }), 0);
  assert.doesNotMatch(JSON.stringify(await page('')), /secret/);

  sluice.configure(configOf('limited'));
  assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  for (const path of ['/one', '/one', '/two']) await ask(`${sluice.proxyUrl}${path}`);
  await waitFor('the limited request', async () => (await page('route=one'))?.items.length === 1);
  assert.equal(await countRows(), total);

  const audit = (...words: string[]) =>
    runToEnd(process.execPath, [CLI, 'audit', '--admin', sluice.adminUrl, ...words]);
  const table = await audit('--status', '429');
  assert.equal(table.stdout.length, 2, table.stderr.join('\n'));
  assert.match(
    table.stdout[1] ?? '',
    / 429 +limited +\d+\.\d +127\.0\.0\.1 +one +GET 127\.0\.0\.1:\d+\/one$/,
  );
  const json = await audit('--requests', '--limit', '1', '--json');
  assert.deepEqual(JSON.parse(json.stdout.join(''))[0].policies, ['one']);
  const refused = await audit('--requests', '--kind', 'admin');
  assert.equal(refused.code, 2, refused.stdout.join('\n'));
});
