/**
 * Loaded by `--import` into a process that is measured: writes every 50 ms how long its event loop was kept from its events
 * at most, what it holds in memory, and what a worker heard of its clients; one JSON line each, to LOOP_PROBE_FOLDER/PID.jsonl.
 */
import cluster from 'node:cluster';
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

export interface ProbeLine {
  role: 'primary' | 'worker';
  /** Wall clock, to be compared between processes. */
  atMs: number;
  /** Longest delay of the loop since the line before. */
  delayMs: number;
  /** How long the loop's thread could have run since the line before, had there been a CPU for it. */
  waitedMs: number;
  rssBytes: number;
  heapBytes: number;
  /** Outside of V8's heap, buffers for the most part. */
  externalBytes: number;
  /** Messages since the line before: `settings`, and `full set` with the last part of one. */
  heard: ('settings' | 'full set')[];
}

const EVERY_MS = 50;

/** Of the main thread, by the kernel's scheduler (second number of schedstat); 0 where it does not count. */
function waitedSoFarNs(): number {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ')[1]);
  } catch {
    return 0;
  }
}

function watch(folder: string): void {
  const path = join(folder, `${process.pid}.jsonl`);
  const role = cluster.isPrimary ? 'primary' : 'worker';
  // One sample per turn of the loop: a sampling timer would see only what falls between its ticks.
  const delay = monitorEventLoopDelay({ samplePerIteration: true });
  delay.enable();
  let heard: ProbeLine['heard'] = [];
  let waitedNs = waitedSoFarNs();
  setInterval(() => {
    const { rss, heapUsed, external } = process.memoryUsage();
    const nowNs = waitedSoFarNs();
    const line: ProbeLine = {
      role,
      atMs: Date.now(),
      delayMs: delay.max / 1e6,
      waitedMs: (nowNs - waitedNs) / 1e6,
      rssBytes: rss,
      heapBytes: heapUsed,
      externalBytes: external,
      heard,
    };
    appendFileSync(path, `${JSON.stringify(line)}\n`);
    delay.reset();
    heard = [];
    waitedNs = nowNs;
  }, EVERY_MS).unref();
  if (role === 'primary') return;
  process.on('message', ({ type, full, last }: { type?: string; full?: boolean; last?: boolean }) => {
    if (type === 'settings') heard.push('settings');
    if (type === 'clients' && full === true && last === true) heard.push('full set');
  });
}

const folder = process.env.LOOP_PROBE_FOLDER;
if (isMainThread && folder !== undefined) watch(folder);
