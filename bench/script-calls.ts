/**
 * How often the script in Redis is called for the bucket of one client: per admitted request while the client stays below
 * its limit, and per token and worker while it is far above. It prints figures and judges nothing. It takes a minute and a
 * half and needs wrk and a C compiler.
 *
 *   node bench/script-calls.ts [REQUESTS_PER_SEC, for each worker; 10000]
 *
 * A whole Sluice runs with a Redis of its own. The calls include the workers' probes of a silent Redis and the heartbeat of
 * the primary, one call every two seconds.
 */
import { type SluiceProcess, startSluice } from '../test/support/sluice.ts';
import { type Backends, startBackends } from './rig/backend.ts';
import { OpenLoop } from './rig/open-loop.ts';
import { MeteredRedis } from './rig/redis-meter.ts';
import { runWrk } from './rig/wrk.ts';

/** The client's rate as a share of its limit. */
const SHARES = [0.5, 0.7, 0.9];
const BELOW_WORKERS = [1, 2];
const BELOW_SEC = 3;
const RATES_PER_SEC = [0.1, 1, 10, 100, 1_000];
const ABOVE_WORKERS = [1, 4];
const ABOVE_SEC = 4;
const ABOVE_CAPACITY = 20;
const CONNECTIONS = 64;
const SEED = 7;

interface Rig {
  redis: MeteredRedis;
  backends: Backends;
  openLoop: OpenLoop;
}

/** Each figure has a route under /tiny/ with a policy of its own. */
function start({ redis, backends }: Rig, workers: number, limits: Record<string, Limit>) {
  return startSluice({
    config: {
      workers,
      log: { level: 'warn', access: { enabled: false } },
      redis: { url: `redis://127.0.0.1:${redis.port}`, timeout: '100ms' },
      pools: { app: { backends: backends.ports.map((port) => ({ url: `http://127.0.0.1:${port}` })) } },
      rateLimit: { policies: limits },
      routes: Object.keys(limits).map((name) => ({
        ...{ name, match: { path: `/tiny/${name}` }, pool: 'app', rateLimit: { policy: name } },
      })),
    },
  });
}

interface Limit {
  capacity: number;
  refillPerSecond: number;
}

const portOf = (sluice: SluiceProcess): number => Number(new URL(sluice.proxyUrl).port);

async function below(rig: Rig, workers: number, perSec: number): Promise<void> {
  const limitOf = (share: number): Limit => {
    const refillPerSecond = Math.round((perSec * workers) / share);
    return { capacity: refillPerSecond, refillPerSecond };
  };
  const names = new Map(SHARES.map((share) => [`below-${share * 100}`, share]));
  const limits = Object.fromEntries([...names].map(([name, share]) => [name, limitOf(share)]));
  const sluice = await start(rig, workers, limits);
  try {
    for (const [name, share] of names) {
      const work = { port: portOf(sluice), path: `/tiny/${name}`, durationSec: BELOW_SEC, seed: SEED };
      const ratePerSec = perSec * workers;
      // A warm-up: V8 must compile the hot code first.
      await rig.openLoop.run({ ...work, ratePerSec });
      await rig.redis.mark();
      const { failed, p99Ms } = await rig.openLoop.run({ ...work, ratePerSec });
      const { commands } = await rig.redis.since();
      const admitted = ratePerSec * BELOW_SEC - failed;
      console.log(
        `${workers} workers, ${ratePerSec}/s at ${share * 100} % of the limit: ${commands} calls for ${admitted} admitted, ` +
          `${(commands / admitted).toFixed(4)} each; ${failed} refused or failed, p99 ${p99Ms.toFixed(1)} ms`,
      );
    }
  } finally {
    await sluice.stop();
  }
}

async function above(rig: Rig, workers: number): Promise<void> {
  const names = new Map(RATES_PER_SEC.map((rate) => [`above-${rate}`, rate]));
  const limits = Object.fromEntries(
    [...names].map(([name, refillPerSecond]) => [name, { capacity: ABOVE_CAPACITY, refillPerSecond }]),
  );
  const sluice = await start(rig, workers, limits);
  try {
    for (const [name, rate] of names) {
      const work = { path: `/tiny/${name}`, connections: CONNECTIONS };
      await runWrk(portOf(sluice), work, 1);
      await rig.redis.mark();
      const { requests, badStatus, durationSec } = await runWrk(portOf(sluice), work, ABOVE_SEC);
      const { commands } = await rig.redis.since();
      const each = commands / workers;
      console.log(
        `${workers} workers, ${rate} tokens/s: ${commands} calls for ${requests} requests, ${requests - badStatus} admitted; ` +
          `for each worker ${(each / (rate * durationSec)).toFixed(2)} a token, ${(each / durationSec).toFixed(2)} a second`,
      );
    }
  } finally {
    await sluice.stop();
  }
}

const perSec = Number(process.argv[2] ?? 10_000);
const rig = {
  redis: await MeteredRedis.start(),
  backends: await startBackends(),
  openLoop: OpenLoop.build(),
};
try {
  for (const workers of BELOW_WORKERS) await below(rig, workers, perSec);
  for (const workers of ABOVE_WORKERS) await above(rig, workers);
} finally {
  rig.openLoop.close();
  await rig.backends.stop();
  await rig.redis.stop();
}
