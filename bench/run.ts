/**
 * `make bench`: Sluice as it is deployed (one worker per CPU) with three backends, loaded by autocannon in its own
 * process. It measures throughput, latency, errors, and what one request costs Sluice's processes and Redis. Results go to
 * bench/results. Exit 1 unless at least 99 % of the answers of each scenario are 2xx.
 *
 *   node bench/run.ts [tiny …] [--duration-sec=5] [--connections=64] [--baseline]
 */
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type Progress, startProgress } from '../src/cli/progress.ts';
import { runToEnd } from '../test/support/child.ts';
import { Arena, FULL_PACE } from './rig/arena.ts';
import type { AutocannonJob } from './rig/autocannon-run.ts';
import { cpuSince, cpuTimes, rssBytes } from './rig/cpu.ts';
import { type LoadFigures, problemOf } from './rig/load.ts';
import { readOptions } from './rig/options.ts';
import type { ServerProcess } from './rig/process.ts';
import { loadAverage } from './rig/record.ts';
import type { MeteredRedis } from './rig/redis-meter.ts';
import { header, type SluiceScenarioResult, writeResult } from './rig/results.ts';
import { SCENARIOS } from './scenarios/all.ts';
import type { Scenario } from './scenarios/scenario.ts';

const AUTOCANNON = fileURLToPath(new URL('rig/autocannon-run.ts', import.meta.url));
/** Long enough for V8 to compile the hot code in every worker. */
const WARM_UP_SEC = 4;
const DEFAULTS = { durationSec: 5, rounds: 1 };

export interface ScenarioPace {
  durationSec: number;
  warmUpSec: number;
  /** Total number of requests; 0: the duration counts instead. */
  amount: number;
}

/** runScenario loads the server of a scenario. It starts the server unless the arena already has it. */
export async function runScenario(
  scenario: Scenario,
  arena: Arena,
  pace: ScenarioPace,
): Promise<SluiceScenarioResult> {
  const workers = availableParallelism();
  const { name, title, work, accessLog = false, limiter } = scenario;
  const generator = work.reconnecting === true ? 'bench/rig/reconnecting-load.ts' : 'autocannon';
  const load = `${generator}, ${work.connections} connections, ${work.method ?? 'GET'} ${work.path}`;
  const result = { name, title, load, workers, problem: '', figures: {} };
  try {
    const redis = limiter === undefined ? null : await arena.redis();
    const options = { workers, accessLog, redisPort: redis?.port ?? null };
    const server = await arena.serverOf({ peer: 'sluice', options });
    return { ...result, ...(await measure(server, scenario, { pace, redis })) };
  } catch (error) {
    return { ...result, problem: (error as Error).message };
  }
}

async function measure(
  server: ServerProcess,
  { work, limiter }: Scenario,
  { pace, redis }: { pace: ScenarioPace; redis: MeteredRedis | null },
): Promise<Pick<SluiceScenarioResult, 'problem' | 'figures'>> {
  const { durationSec, warmUpSec, amount } = pace;
  const job = { port: server.port, work, amount, clients: limiter?.clients ?? 1 };
  if (warmUpSec > 0) await runAutocannon({ ...job, durationSec: warmUpSec });
  await redis?.mark();
  const before = cpuTimes(server.pids());
  const load = await runAutocannon({ ...job, durationSec });
  const cpu = cpuSince(before, cpuTimes(server.pids()));
  const cost = await redis?.since();
  const { requests, badStatus, errors, timeouts, p50Ms, p99Ms, p999Ms } = load;
  const figures = {
    requestsPerSec: requests / load.durationSec,
    ...{ p50Ms, p99Ms, p999Ms },
    good: requests - badStatus,
    ...{ badStatus, errors, timeouts },
    cpuUs: cpu.totalUs / requests,
    userUs: cpu.userUs / requests,
    systemUs: cpu.systemUs / requests,
    rssMiB: rssBytes(server.pids()) / 2 ** 20,
    workerRssMiB: rssBytes(server.workerPids()) / 2 ** 20,
    ...(cost === undefined
      ? {}
      : { redisCommandsPerRequest: cost.commands / requests, redisCpuUs: cost.cpuUs / requests }),
  };
  return { problem: problemOf(load), figures };
}

async function runAutocannon(job: AutocannonJob): Promise<LoadFigures> {
  const { code, stdout, stderr } = await runToEnd(process.execPath, [AUTOCANNON, JSON.stringify(job)], {
    timeoutMs: (job.durationSec + 30) * 1_000,
  });
  const line = stdout.find((text) => text.startsWith('{'));
  if (code !== 0 || line === undefined) throw new Error(`autocannon failed (${code}):\n${stderr.join('\n')}`);
  return JSON.parse(line) as LoadFigures;
}

function print({ say }: Progress, { name, title, problem, workers, figures }: SluiceScenarioResult): void {
  const of = (metric: string, digits = 1) => (figures[metric] ?? 0).toFixed(digits);
  say(`\n${name}: ${title}`);
  if (problem !== '') say(`  FAILED, no figure   ${problem}`);
  if (figures.requestsPerSec === undefined) return;
  say(`  requests/s          ${of('requestsPerSec', 0)} (${workers} workers)`);
  say(
    `  latency             p50 ${of('p50Ms', 0)} ms · p99 ${of('p99Ms', 0)} ms · p99.9 ${of('p999Ms', 0)} ms`,
  );
  const bad = `${of('badStatus', 0)} other · ${of('errors', 0)} errors · ${of('timeouts', 0)} timeouts`;
  say(`  answers             ${of('good', 0)} 2xx · ${bad}`);
  say(`  CPU per request     ${of('cpuUs')} µs (user ${of('userUs')}, system ${of('systemUs')})`);
  say(`  resident            ${of('rssMiB', 0)} MiB, ${of('workerRssMiB', 0)} of it the workers'`);
  if (figures.redisCpuUs === undefined) return;
  say(`  Redis per request   ${of('redisCommandsPerRequest', 3)} commands · ${of('redisCpuUs')} µs`);
}

if (import.meta.main) {
  const options = readOptions(
    SCENARIOS.map(({ name }) => name),
    DEFAULTS,
  );
  const begin = header();
  const before = loadAverage();
  const arena = await Arena.open(FULL_PACE);
  const scenarios: SluiceScenarioResult[] = [];
  const wanted = SCENARIOS.filter(({ name }) => options.names.length === 0 || options.names.includes(name));
  const progress = startProgress(wanted.length);
  try {
    for (const scenario of wanted) {
      progress.begin(scenario.name);
      const work = { ...scenario.work, connections: options.connections ?? scenario.work.connections };
      const pace = { durationSec: options.durationSec, warmUpSec: WARM_UP_SEC, amount: 0 };
      const result = await runScenario({ ...scenario, work }, arena, pace);
      print(progress, result);
      scenarios.push(result);
    }
  } finally {
    progress.stop();
    await arena.close();
  }
  const path = writeResult(
    {
      kind: 'sluice',
      ...begin,
      complete: scenarios.length === SCENARIOS.length,
      loadAverage: { before, after: loadAverage() },
      durationSec: options.durationSec,
      commands: arena.commands,
      backends: arena.backends.kind,
      scenarios,
    },
    { asBaseline: options.baseline },
  );
  console.log(`\n${path}`);
  if (scenarios.some(({ problem }) => problem !== '')) process.exitCode = 1;
}
