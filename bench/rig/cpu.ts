/** What processes cost, from /proc (Linux): CPU time and resident memory. */
import { readdirSync, readFileSync } from 'node:fs';

export interface CpuTimes {
  /** Of all threads, ns precise (schedstat). */
  totalUs: number;
  /** By the kernel's ticks of 10 ms; only their proportion is used. */
  userUs: number;
  systemUs: number;
}

/** utime and stime of /proc/PID/stat are in these; 100 on every Linux of the last decades. */
const TICKS_PER_SEC = 100;

/** cpuTimes adds up what the processes have used since they began; one that is gone counts nothing. */
export function cpuTimes(pids: number[]): CpuTimes {
  const sum: CpuTimes = { totalUs: 0, userUs: 0, systemUs: 0 };
  for (const pid of pids) {
    const fields = readOrEmpty(`/proc/${pid}/stat`);
    // The second field is the command in brackets and may hold anything.
    const [, ...words] = fields.slice(fields.lastIndexOf(')')).split(' ');
    const userUs = (Number(words[11] ?? 0) * 1e6) / TICKS_PER_SEC;
    const systemUs = (Number(words[12] ?? 0) * 1e6) / TICKS_PER_SEC;
    sum.userUs += userUs;
    sum.systemUs += systemUs;
    // The kernel without schedstat: ticks have to do.
    sum.totalUs += scheduledUs(pid) || userUs + systemUs;
  }
  return sum;
}

/** cpuSince subtracts, and divides the precise total in the ticks' proportion of user to system. */
export function cpuSince(before: CpuTimes, after: CpuTimes): CpuTimes {
  const totalUs = after.totalUs - before.totalUs;
  const userTicksUs = after.userUs - before.userUs;
  const systemTicksUs = after.systemUs - before.systemUs;
  const ticksUs = userTicksUs + systemTicksUs;
  const userShare = ticksUs === 0 ? 0 : userTicksUs / ticksUs;
  return { totalUs, userUs: totalUs * userShare, systemUs: totalUs * (1 - userShare) };
}

/** rssBytes adds up the resident sets; pages that processes share are counted once per process. */
export function rssBytes(pids: number[]): number {
  let sum = 0;
  for (const pid of pids) {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readOrEmpty(`/proc/${pid}/status`))?.[1];
    sum += Number(kib ?? 0) * 1024;
  }
  return sum;
}

function scheduledUs(pid: number): number {
  let ns = 0;
  for (const thread of threadsOf(pid)) {
    ns += Number(readOrEmpty(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0] ?? 0);
  }
  return ns / 1_000;
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // gone
  }
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return ''; // gone between the listing and the reading
  }
}
