/**
 * How long requests wait when Redis freezes under load. It prints figures and judges nothing. It takes half a minute and needs
 * a C compiler.
 *
 *   node bench/frozen-redis.ts [REQUESTS_PER_SEC, for each worker; 500]
 *
 * First two limiters run alone; the lateness of this process is shown apart. Then a whole Sluice of one worker runs: a limited
 * and an unlimited route get the same load at the same time, so that their difference is what the limit adds.
 */
import type { Limiter } from '../src/limit/limiter/limiter.ts';
import { callerOf } from '../test/limit/limiter/limiter-lab.ts';
import { type Fleet, makeFleet } from '../test/redis/limiter-fleet.ts';
import { PLENTY, watchLoop } from '../test/redis/outage-lab.ts';
import { startBackend } from '../test/support/backend.ts';
import { type RedisServer, startRedis } from '../test/support/redis.ts';
import { startSluice } from '../test/support/sluice.ts';
import { waitFor } from '../test/support/wait.ts';
import { OpenLoop } from './rig/open-loop.ts';
import { percentile } from './rig/stats.ts';

const HEALTHY_MS = 2_000;
const FROZEN_MS = 5_000;
const RUN_SEC = 8;
const TICK_MS = 1;
const CALLERS = 100;

interface Load {
  perSec: number;
  title: string;
}

interface Waits {
  /** Latencies in ms of decisions asked for while the breaker was closed (Redis frozen or not) and while it was open. */
  closed: number[];
  open: number[];
  refused: number;
}

/** Asks for decisions at a steady rate, without waiting for earlier ones. */
function startAsking(limiters: readonly Limiter[], perSec: number) {
  const waits: Waits = { closed: [], open: [], refused: 0 };
  const loop = watchLoop();
  const startMs = performance.now();
  let asked = 0;
  const ask = async (limiter: Limiter): Promise<void> => {
    const into = limiter.breakerOpen ? waits.open : waits.closed;
    const askedMs = loop.now();
    const decision = await limiter.take(callerOf(`caller-${asked % CALLERS}`), PLENTY, 1);
    into.push(loop.now() - askedMs);
    if (!decision.allowed) waits.refused++;
  };
  const timer = setInterval(() => {
    for (; asked < ((performance.now() - startMs) * perSec) / 1000; asked++) {
      for (const limiter of limiters) void ask(limiter);
    }
  }, TICK_MS);
  const stop = (): Waits => {
    clearInterval(timer);
    loop.stop();
    return waits;
  };
  return stop;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function figuresOf(waits: readonly number[]): object {
  const round = (ms: number): number => Math.round(ms * 1000) / 1000;
  const [p50Ms, p99Ms, longestMs] = [0.5, 0.99, 1].map((share) => round(percentile(waits, share)));
  return { decisions: waits.length, p50Ms, p99Ms, longestMs };
}

async function limitersAlone(redis: RedisServer, perSec: number): Promise<void> {
  const fleet: Fleet = makeFleet(redis.url, 2, { policies: [PLENTY] });
  try {
    await fleet.ready();
    const stop = startAsking(
      fleet.workers.map(({ limiter }) => limiter),
      perSec,
    );
    await pause(HEALTHY_MS);
    redis.signal('SIGSTOP');
    await pause(FROZEN_MS);
    const { closed, open, refused } = stop();
    console.log('limiters, breaker closed (healthy, then until it opened):', figuresOf(closed));
    console.log('limiters, breaker open:', figuresOf(open), { refused });
  } finally {
    redis.signal('SIGCONT');
    await fleet.close();
  }
}

async function wholeSluice(redis: RedisServer, openLoop: OpenLoop, perSec: number): Promise<void> {
  const backend = await startBackend((_req, res) => res.writeHead(200, { 'content-length': 2 }).end('ok'));
  const { capacity, refillPerSecond } = PLENTY;
  const sluice = await startSluice({
    config: {
      pools: { app: { backends: [{ url: backend.url }] } },
      routes: [
        { name: 'free', match: { path: '/free' }, pool: 'app', rateLimit: 'off' },
        { name: 'limited', pool: 'app' },
      ],
      redis: { url: redis.url },
      rateLimit: { enabled: true, policies: { default: { capacity, refillPerSecond } } },
    },
  });
  try {
    await loadBoth(openLoop, sluice.proxyUrl, { perSec, title: 'Sluice, Redis healthy' });
    redis.signal('SIGSTOP');
    await loadBoth(openLoop, sluice.proxyUrl, { perSec, title: 'Sluice, Redis frozen' });
    redis.signal('SIGCONT');
    const back = () => sluice.jsonLines(({ msg }) => msg === 'the bucket store is back');
    await waitFor('the store to be back', () => back().length > 0);
  } finally {
    redis.signal('SIGCONT');
    await sluice.stop();
    await backend.close();
  }
}

/** The breaker opens in the first fifth of a run. Latencies of that fifth are not counted, failures are. */
async function loadBoth(openLoop: OpenLoop, proxyUrl: string, { perSec, title }: Load): Promise<void> {
  const port = Number(new URL(proxyUrl).port);
  const runs = ['/limited', '/free'].map(async (path, index) => {
    const work = { port, path, ratePerSec: perSec, durationSec: RUN_SEC, seed: index + 1 };
    return `${path} ${JSON.stringify(await openLoop.run(work))}`;
  });
  for (const line of await Promise.all(runs)) console.log(`${title}: ${line}`);
}

const perSec = Number(process.argv[2] ?? 500);
const openLoop = OpenLoop.build();
const redis = await startRedis();
try {
  await limitersAlone(redis, perSec);
  await wholeSluice(redis, openLoop, perSec);
} finally {
  await redis.stop();
  openLoop.close();
}
