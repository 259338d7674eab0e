import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { ask, poolOf, startNamed } from '../cluster/support.ts';
import { spawnChild } from '../support/child.ts';
import { freePort } from '../support/free-port.ts';
import { startCollector } from '../support/otlp-collector.ts';
import { startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { hasTool } from '../support/tools.ts';
import { waitFor } from '../support/wait.ts';

const TOKEN = 'a-token-of-16-characters';
const RULES = ['recording.yml', 'alerts.yml'].map((name) =>
  fileURLToPath(new URL(`../../config/prometheus/${name}`, import.meta.url)),
);

interface Target {
  health: string;
  lastError: string;
}

interface Found {
  labels: { trace_id: string };
  value: string;
}

/** A Prometheus that scrapes one admin port every second. */
async function startPrometheus(t: TestContext, adminUrl: string) {
  const folder = tempFolder(t);
  const port = await freePort();
  const config = join(folder, 'prometheus.yml');
  const job = {
    job_name: 'sluice',
    authorization: { credentials: TOKEN },
    static_configs: [{ targets: [new URL(adminUrl).host] }],
  };
  const every = '1s';
  writeFileSync(
    config,
    stringify({
      global: { scrape_interval: every, scrape_timeout: every, evaluation_interval: every },
      ...{ rule_files: RULES, scrape_configs: [job] },
    }),
  );
  const child = spawnChild('prometheus', [
    ...[`--config.file=${config}`, `--storage.tsdb.path=${join(folder, 'data')}`],
    ...[`--web.listen-address=127.0.0.1:${port}`, '--enable-feature=exemplar-storage'],
  ]);
  t.after(() => child.stop('SIGTERM', 10_000));
  const url = `http://127.0.0.1:${port}`;
  await waitFor('Prometheus to be ready', () =>
    ask(`${url}/-/ready`).then(
      ({ status }) => status === 200,
      () => false,
    ),
  );
  const get = async (path: string) => JSON.parse((await ask(`${url}/api/v1/${path}`)).text).data;
  /** The values of an instant query. */
  const query = async (expr: string): Promise<number[]> => {
    const { result } = await get(`query?query=${encodeURIComponent(expr)}`);
    return result.map(({ value }: { value: [number, string] }) => Number(value[1]));
  };
  return { url, get, query };
}

test('a real Prometheus scrapes every series, sees counters grow, and evaluates all rules', async (t) => {
  if (!hasTool(t, 'prometheus')) return;
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const collector = await startCollector();
  t.after(() => collector.close());
  const sluice = await startSluice({
    config: {
      ...{ workers: 2, pools: poolOf([backend]) },
      tracing: { endpoint: collector.url, sample: 1 },
      admin: { address: '127.0.0.1:0', token: TOKEN },
    },
  });
  t.after(() => sluice.stop());
  const { url, get, query } = await startPrometheus(t, sluice.adminUrl);
  await waitFor('the target to be up', async () => (await query('up{job="sluice"}'))[0] === 1);
  const growth = await waitFor('the requests to have a rate', async () => {
    await Promise.all(Array.from({ length: 10 }, () => ask(sluice.proxyUrl)));
    const [rate = 0] = await query('sum(rate(sluice_requests_total{route="default",code="200"}[10s]))');
    return rate > 0 && rate;
  });
  assert.ok(growth < 10_000, `${growth}`);
  const { activeTargets } = (await get('targets')) as { activeTargets: Target[] };
  assert.deepEqual(
    activeTargets.map(({ health, lastError }) => [health, lastError]),
    [['up', '']],
  );
  // What was scraped is what the port has, and nothing of it was refused.
  const { text } = await ask(`${sluice.adminUrl}/metrics`, { headers: { authorization: `Bearer ${TOKEN}` } });
  const seriesCount = text.split('\n').filter((line) => /^[a-z]/.test(line)).length;
  const [scraped = 0] = await query('scrape_samples_scraped');
  assert.ok(Math.abs(scraped - seriesCount) < 20, `${scraped} of ${seriesCount} series`);
  assert.deepEqual(await query('scrape_samples_post_metric_relabeling - scrape_samples_scraped'), [0]);
  const own = (await ask(`${url}/metrics`)).text;
  for (const cause of ['out_of_order', 'duplicate_timestamp', 'out_of_bounds'])
    assert.match(own, new RegExp(`^prometheus_target_scrapes_sample_${cause}_total 0$`, 'm'));
  const { sluice_requests: metadata } = await get('metadata?metric=sluice_requests');
  assert.equal(metadata[0].type, 'counter');
  const rules = await waitFor('all rules to be evaluated', async () => {
    const { groups } = (await get('rules')) as { groups: { rules: { name: string; health: string }[] }[] };
    const all = groups.flatMap((group) => group.rules);
    return all.every(({ health }) => health !== 'unknown') && all;
  });
  assert.deepEqual(
    rules.filter(({ health }) => health !== 'ok'),
    [],
  );
  const recorded = 'route:sluice_requests:rate5m{route="default"}';
  await waitFor('a recorded series', async () => ((await query(recorded))[0] ?? 0) > 0);
  // Prometheus asks for OpenMetrics, which has exemplars: one of them is a request that was made.
  const path = 'query_exemplars?query=sluice_request_duration_seconds_bucket&start=0&end=9999999999';
  // A trace becomes one once the collector has it, and the next scrape brings it.
  const found = await waitFor('exemplars', async () => {
    const series = (await get(path)) as { seriesLabels: { route: string }; exemplars: Found[] }[];
    return series.length > 0 && series;
  });
  const exemplars = found.flatMap((series) => series.exemplars);
  const traceIds = sluice.jsonLines(({ route }) => route === 'default').map(({ traceId }) => traceId);
  assert.ok(exemplars.length > 0);
  assert.ok(found.every(({ seriesLabels }) => seriesLabels.route === 'default'));
  for (const { labels, value } of exemplars) {
    assert.ok(traceIds.includes(labels.trace_id), labels.trace_id);
    assert.ok(Number(value) > 0);
  }
});
