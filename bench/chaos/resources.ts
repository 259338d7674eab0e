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

/** MemorySamples takes the resident set once a second. */
export class MemorySamples {
  readonly #subject: Subject;
  readonly #samples: { atMin: number; mib: number }[] = [];
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
      return part.reduce((sum, { mib }) => sum + mib, 0) / part.length;
    };
    return mean(this.#samples.length - fifth) - mean(Math.min(fifth, this.#samples.length - fifth));
  }

  /** slopeMiBPerMin is the line of least squares through all samples but those of the first fifth. */
  slopeMiBPerMin(): number {
    const samples = this.#samples.slice(Math.floor(this.#samples.length / 5));
    const mean = (of: (sample: { atMin: number; mib: number }) => number) =>
      samples.reduce((sum, sample) => sum + of(sample), 0) / samples.length;
    const [x, y] = [mean(({ atMin }) => atMin), mean(({ mib }) => mib)];
    const spread = mean(({ atMin }) => (atMin - x) ** 2);
    return spread === 0 ? 0 : mean(({ atMin, mib }) => (atMin - x) * (mib - y)) / spread;
  }

  #take(): void {
    this.#samples.push({ atMin: nowMs() / 60_000, mib: rssMiB(this.#subject) });
  }
}
