/** CPU time and resident memory of processes, from /proc (Linux). */
import { readdirSync, readFileSync } from 'node:fs';

export interface CpuTimes {
  /** Sum of all threads, exact to the nanosecond (schedstat). */
  totalUs: number;
  /** In ticks of 10 ms, so only the ratio of user to system time is used. */
  userUs: number;
  systemUs: number;
}

/** The unit of utime and stime in /proc/PID/stat; 100 on every current Linux. */
const TICKS_PER_SEC = 100;

/** cpuTimes adds up the CPU time of the processes since their start. A process that has exited counts as 0. */
export function cpuTimes(pids: number[]): CpuTimes {
  const sum: CpuTimes = { totalUs: 0, userUs: 0, systemUs: 0 };
  for (const pid of pids) {
    const [userUs, systemUs] = ticksUs(pid);
    sum.userUs += userUs;
    sum.systemUs += systemUs;
    // Without schedstat in the kernel, the ticks are used.
    sum.totalUs += scheduledUs(pid) || userUs + systemUs;
  }
  return sum;
}

/** reapedUs is the CPU time of the children that ended and that the process has waited for, with theirs; in steps of 10 ms. */
export function reapedUs(pid: number): number {
  const [, , userUs, systemUs] = ticksUs(pid);
  return userUs + systemUs;
}

/** cpuSince subtracts `before` and splits the exact total into user and system time by the ratio of the ticks. */
export function cpuSince(before: CpuTimes, after: CpuTimes): CpuTimes {
  const totalUs = after.totalUs - before.totalUs;
  const userTicksUs = after.userUs - before.userUs;
  const systemTicksUs = after.systemUs - before.systemUs;
  const ticksUs = userTicksUs + systemTicksUs;
  const userShare = ticksUs === 0 ? 0 : userTicksUs / ticksUs;
  return { totalUs, userUs: totalUs * userShare, systemUs: totalUs * (1 - userShare) };
}

/** rssBytes adds up the resident sets. A shared page counts once per process. */
export function rssBytes(pids: number[]): number {
  let sum = 0;
  for (const pid of pids) {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readOrEmpty(`/proc/${pid}/status`))?.[1];
    sum += Number(kib ?? 0) * 1024;
  }
  return sum;
}

/** utime, stime, cutime and cstime of proc(5), in µs; 0 for a process that has exited. */
function ticksUs(pid: number): [number, number, number, number] {
  const fields = readOrEmpty(`/proc/${pid}/stat`);
  // The second field is the command in brackets, which may contain spaces and brackets.
  const [, ...words] = fields.slice(fields.lastIndexOf(')')).split(' ');
  const us = (word: number): number => (Number(words[word] ?? 0) * 1e6) / TICKS_PER_SEC;
  return [us(11), us(12), us(13), us(14)];
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
