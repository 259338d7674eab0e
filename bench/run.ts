/**
 * `make bench`: starts three backends and Sluice with the scenario's config, loads it with autocannon from a process of
 * its own, and prints throughput, latency, errors and the CPU time that one request cost all of Sluice's processes.
 * Exit 1 unless at least 99 % of the answers are 2xx.
 *
 *   node bench/run.ts [tiny-get] [--duration-sec=8] [--connections=64]
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Child, runToEnd, spawnChild } from '../test/support/child.ts';
import { type SluiceProcess, startSluice } from '../test/support/sluice.ts';
import { type Scenario, tinyGet } from './tiny-get.ts';

const ECHO = fileURLToPath(new URL('../test_backs/echo.ts', import.meta.url));
const AUTOCANNON = fileURLToPath(new URL('../node_modules/autocannon/autocannon.js', import.meta.url));
const BACKEND_COUNT = 3;
const WARM_UP_SEC = 2;
const MIN_SUCCESS_RATIO = 0.99;
/** utime and stime of /proc/PID/stat are in these; 100 on every Linux of the last decades. */
const TICKS_PER_SEC = 100;

const SCENARIOS: Record<string, Scenario> = { 'tiny-get': tinyGet };

interface Load {
  /** Answers by the hundreds of their status. */
  '2xx': number;
  non2xx: number;
  errors: number;
  timeouts: number;
  duration: number;
  requests: { total: number };
  latency: { p50: number; p99: number; max: number };
}

async function loadOf(url: string, durationSec: number, connections: number): Promise<Load> {
  const args = [AUTOCANNON, '--json', '-c', String(connections), '-d', String(durationSec), url];
  const { code, stdout, stderr } = await runToEnd(process.execPath, args, {
    timeoutMs: (durationSec + 30) * 1_000,
  });
  const line = stdout.find((text) => text.startsWith('{'));
  if (code !== 0 || line === undefined) throw new Error(`autocannon failed (${code}):\n${stderr.join('\n')}`);
  return JSON.parse(line) as Load;
}

/** CPU time used so far by the primary and its workers, in µs. */
function cpuUs(sluice: SluiceProcess): number {
  const pids = [sluice.pid, ...sluice.workerPids()];
  const ticks = pids.map((pid) => {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  });
  return (ticks.reduce((sum, each) => sum + each, 0) * 1e6) / TICKS_PER_SEC;
}

async function startBackends(backends: Child[]): Promise<string[]> {
  for (let index = 0; index < BACKEND_COUNT; index += 1) {
    backends.push(spawnChild(process.execPath, [ECHO, '--port=0', `--id=${index + 1}`]));
  }
  const lines = await Promise.all(backends.map((backend) => backend.waitForLine('listening on')));
  return lines.map((line) => line.replace('listening on ', ''));
}

function report(
  name: string,
  load: Load,
  { cpuTotalUs, workers }: { cpuTotalUs: number; workers: number },
): boolean {
  const answers = load['2xx'] + load.non2xx;
  const failures = load.non2xx + load.errors + load.timeouts;
  const ratio = load['2xx'] / Math.max(1, load['2xx'] + failures);
  console.log(`scenario            ${name} (${workers} workers, ${BACKEND_COUNT} backends, no access log)`);
  console.log(`requests/s          ${(answers / load.duration).toFixed(0)}`);
  console.log(
    `latency             p50 ${load.latency.p50} ms · p99 ${load.latency.p99} ms · max ${load.latency.max} ms`,
  );
  console.log(
    `answers             ${load['2xx']} 2xx · ${load.non2xx} other · ${load.errors} errors · ${load.timeouts} timeouts`,
  );
  console.log(
    `CPU per request     ${(cpuTotalUs / Math.max(1, answers)).toFixed(1)} µs (primary and workers)`,
  );
  console.log(`2xx                 ${(ratio * 100).toFixed(2)} % (at least ${MIN_SUCCESS_RATIO * 100} %)`);
  return ratio >= MIN_SUCCESS_RATIO && answers > 0;
}

async function bench(name: string, durationSec: number, connections: number): Promise<boolean> {
  const scenario = SCENARIOS[name];
  if (scenario === undefined)
    throw new Error(`no scenario ${name}; there is ${Object.keys(SCENARIOS).join(', ')}`);
  const backends: Child[] = [];
  let sluice: SluiceProcess | null = null;
  try {
    sluice = await startSluice({ config: scenario.config(await startBackends(backends)) });
    const url = `${sluice.proxyUrl}${scenario.target}`;
    await loadOf(url, WARM_UP_SEC, connections);
    const beforeUs = cpuUs(sluice);
    const load = await loadOf(url, durationSec, connections);
    return report(name, load, { cpuTotalUs: cpuUs(sluice) - beforeUs, workers: sluice.ready.workers });
  } finally {
    await sluice?.stop();
    for (const backend of backends) await backend.stop();
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'duration-sec': { type: 'string', default: '8' },
    connections: { type: 'string', default: '64' },
  },
});
const good = await bench(
  positionals[0] ?? 'tiny-get',
  Number(values['duration-sec']),
  Number(values.connections),
);
if (!good) {
  console.error('too many answers were not 2xx');
  process.exitCode = 1;
}
