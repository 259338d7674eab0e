/**
 * What `audit.requests: all` costs: CPU time per request of the worker and of the primary, off and on in turn by reloads of one Sluice;
 * then latency and memory while PostgreSQL is away. It prints figures and judges nothing; it needs a C compiler.
 *
 *   node bench/audit-requests.ts [REQUESTS_PER_SEC; 10000] [SECONDS without PostgreSQL, before and after; 60]
 */
import { askJson, metricOf } from '../test/cluster/support.ts';
import { runToEnd } from '../test/support/child.ts';
import { makeDatabase, startPostgres } from '../test/support/postgres.ts';
import { startSluice } from '../test/support/sluice.ts';
import { startBackends } from './rig/backend.ts';
import { cpuSince, cpuTimes, rssBytes } from './rig/cpu.ts';
import { OpenLoop } from './rig/open-loop.ts';

const ROUNDS = 8;
const ROUND_SEC = 3;
const SEED = 7;
const DROPPED = 'sluice_audit_dropped_rows_total';

type Mode = 'off' | 'all';

const [ratePerSec = 10_000, awaySec = 60] = process.argv.slice(2).map(Number);
const postgres = await startPostgres();
const backends = await startBackends();
const openLoop = OpenLoop.build();
const url = await makeDatabase(postgres);
await runToEnd(process.execPath, ['src/cli.ts', 'migrate', 'up'], {
  env: { ...process.env, DATABASE_URL: url },
});
const configOf = (requests: Mode) => ({
  workers: 1,
  log: { level: 'warn', access: { enabled: false } },
  database: { url },
  pools: { app: { backends: backends.ports.map((port) => ({ url: `http://127.0.0.1:${port}` })) } },
  audit: { requests },
});
const sluice = await startSluice({ config: configOf('off') });
const port = Number(new URL(sluice.proxyUrl).port);
const load = (durationSec: number) =>
  openLoop.run({ port, path: '/tiny/a/path/of/some/length', ratePerSec, durationSec, seed: SEED });

/** µs per request of the worker and of the primary. */
async function measure(mode: Mode): Promise<[number, number]> {
  sluice.configure(configOf(mode));
  await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
  const groups = [sluice.workerPids(), [sluice.pid]] as const;
  const before = groups.map((pids) => cpuTimes([...pids]));
  await load(ROUND_SEC);
  const [worker = 0, primary = 0] = groups.map(
    (pids, i) => cpuSince(before[i]!, cpuTimes([...pids])).totalUs / (ratePerSec * ROUND_SEC),
  );
  return [worker, primary];
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
const mib = (): string =>
  [[sluice.pid], sluice.workerPids()].map((pids) => Math.round(rssBytes(pids) / 2 ** 20)).join(' and ');
const dropped = () => metricOf(sluice.adminUrl, DROPPED, { kind: 'request' });

try {
  await load(ROUND_SEC);
  const figures: Record<Mode, [number, number][]> = { off: [], all: [] };
  for (let round = 0; round < ROUNDS; round++)
    for (const mode of ['off', 'all'] as const) figures[mode].push(await measure(mode));
  for (const [index, name] of ['worker', 'primary'].entries()) {
    const [off, on] = (['off', 'all'] as const).map((mode) =>
      median(figures[mode].map((each) => each[index]!)),
    );
    const more = median(figures.all.map((each, i) => each[index]! - figures.off[i]![index]!));
    console.log(
      `${name}: ${off?.toFixed(2)} µs per request off, ${on?.toFixed(2)} on; median difference ${more.toFixed(2)}`,
    );
  }
  console.log(`dropped ${await dropped()} rows; primary and worker have ${mib()} MiB`);
  for (const state of ['there', 'away', 'there again']) {
    if (state === 'away') await postgres.stop();
    if (state === 'there again') await postgres.start();
    const { failed, p50Ms, p99Ms, maxMs } = await load(awaySec);
    const latency = `p50 ${p50Ms.toFixed(2)}, p99 ${p99Ms.toFixed(1)}, max ${maxMs.toFixed(0)} ms`;
    console.log(
      `PostgreSQL ${state}: ${failed} failed, ${latency}; ${mib()} MiB; dropped ${await dropped()} rows`,
    );
  }
} finally {
  await sluice.stop();
  openLoop.close();
  await backends.stop();
  await postgres.remove();
}
