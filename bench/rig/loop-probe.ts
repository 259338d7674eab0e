/**
 * Loaded by `--import` into a process that is measured. Every 50 ms it appends a line of JSON to LOOP_PROBE_FOLDER/PID.jsonl:
 * the longest delay of the event loop, the memory of the process, and which messages about clients a worker got.
 */
import cluster from 'node:cluster';
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

export interface ProbeLine {
  role: 'primary' | 'worker';
  /** Wall clock, so that lines of several processes can be compared. */
  atMs: number;
  /** The longest delay of the loop since the previous line. */
  delayMs: number;
  /** Time since the previous line in which the loop's thread was ready to run but had no CPU. */
  waitedMs: number;
  rssBytes: number;
  heapBytes: number;
  /** Memory outside V8's heap, mostly buffers. */
  externalBytes: number;
  /** Messages since the previous line: `settings`, and `full set` for the last part of a full set. */
  heard: ('settings' | 'full set')[];
}

const EVERY_MS = 50;

/** How long the main thread waited for a CPU (second number of schedstat); 0 where the kernel does not count it. */
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
  // One sample per turn of the loop: a timer would miss stalls between its ticks.
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
