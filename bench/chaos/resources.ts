/** Memory and descriptors of a server, which a fault must not raise for good. */
import { readdirSync } from 'node:fs';
import { waitFor } from '../../test/support/wait.ts';
import { rssBytes } from '../rig/cpu.ts';
import { nowMs } from '../rig/outcomes.ts';
import type { ChaosBackend } from './chaos-backend.ts';
import { atMost, type Finding } from './fault.ts';
import type { Subject } from './subjects/subject.ts';

const BACK_MS = 30_000;
/** A probe, a call of the admin port or a report may have something open at the moment of the count. */
const SLACK = 4;

/** openFiles counts the descriptors of all processes of a server. */
export function openFiles(subject: Subject): number {
  return subject.pids().reduce((sum, pid) => sum + filesOf(pid), 0);
}

function filesOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0; // gone between the listing and the reading
  }
}

/** rssMiB adds up the resident sets of its serving processes. */
export function rssMiB(subject: Subject): number {
  return rssBytes(subject.workerPids()) / 2 ** 20;
}

/** filesBack waits until the descriptors are as many as before, without clients and backends, and judges what is left. */
export async function filesBack(
  subject: Subject,
  backends: readonly Pick<ChaosBackend, 'kill'>[],
  before: number,
): Promise<Finding> {
  // A killed backend closes the connections that are kept to it.
  await Promise.all(backends.map((backend) => backend.kill()));
  const back = () => openFiles(subject) <= before + SLACK;
  await waitFor('descriptors as before', back, { timeoutMs: BACK_MS, everyMs: 100 }).catch(() => undefined);
  const grown = Math.max(0, openFiles(subject) - before);
  return atMost('descriptors are back', grown, SLACK, { unit: ' more', exact: true });
}

/** MemorySample has the resident set of each process. */
interface MemorySample {
  atMin: number;
  mib: number[];
}

/** MemorySamples takes the resident set of each serving process once a second. */
export class MemorySamples {
  readonly #subject: Subject;
  readonly #samples: MemorySample[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(subject: Subject) {
    this.#subject = subject;
    this.#timer = setInterval(() => this.#take(), 1_000);
    this.#take();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** grownMiB is the mean of the last fifth less that of the second fifth: the first one warms up. */
  grownMiB(): number {
    const fifth = Math.max(1, Math.floor(this.#samples.length / 5));
    const mean = (from: number) => {
      const part = this.#samples.slice(from, from + fifth);
      return part.reduce((sum, { mib }) => sum + sumOf(mib), 0) / part.length;
    };
    return mean(this.#samples.length - fifth) - mean(Math.min(fifth, this.#samples.length - fifth));
  }

  /** slopeMiBPerMin is slopeOf all samples but those of the first fifth. */
  slopeMiBPerMin(): number {
    return slopeOf(this.#samples.slice(Math.floor(this.#samples.length / 5)));
  }

  #take(): void {
    const mib = this.#subject.workerPids().map((pid) => rssBytes([pid]) / 2 ** 20);
    this.#samples.push({ atMin: nowMs() / 60_000, mib });
  }
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/**
 * slopeOf compares the least of each process in the two halves of the time: a line through all samples would have a slope of some
 * MiB/min from what lies between two collections of garbage, which are minutes apart.
 */
export function slopeOf(samples: readonly MemorySample[]): number {
  const half = Math.floor(samples.length / 2);
  const [first, second] = [samples.slice(0, half), samples.slice(half)];
  const minutes = (second[0]?.atMin ?? 0) - (first[0]?.atMin ?? 0);
  return minutes === 0 ? 0 : (sumOf(leastOf(second)) - sumOf(leastOf(first))) / minutes;
}

/** For each place among the processes. One that has just ended has a resident set of 0. */
function leastOf(samples: readonly MemorySample[]): number[] {
  const places = samples[0]?.mib.map((_, place) => place) ?? [];
  return places.map((place) => Math.min(...samples.map(({ mib }) => mib[place] || Number.POSITIVE_INFINITY)));
}
