/** What one fault works with: its seeded randomness, backends, a server in front of them and a load. */
import { Random } from '../../test/fuzz/random.ts';
import { ConstantLoad, type ConstantLoadOptions } from '../rig/constant-load.ts';
import { nowMs, type Tally } from '../rig/outcomes.ts';
import { ChaosBackend } from './chaos-backend.ts';
import { atMost, type Finding } from './fault.ts';
import type { Setup, Subject, SubjectKind } from './subjects/subject.ts';

export interface StageOptions {
  kind: SubjectKind;
  /** Of this fault alone: a run mixes its seed with the fault's name. */
  seed: number;
  /** Each fault takes a few seconds only. */
  short: boolean;
  /** Length of the soak of a full run. */
  soakMin: number;
}

export class Stage {
  readonly random: Random;
  readonly short: boolean;
  readonly soakMin: number;
  readonly kind: SubjectKind;
  readonly #closers: (() => unknown)[] = [];

  constructor({ kind, seed, short, soakMin }: StageOptions) {
    this.kind = kind;
    this.random = new Random(seed);
    this.short = short;
    this.soakMin = soakMin;
  }

  /** of chooses between the value of a full and of a short run. */
  of<T>(full: T, short: T): T {
    return this.short ? short : full;
  }

  /** pause lets `sec` go by: the time in which a fault acts. */
  pause(sec: number): Promise<void> {
    return new Promise((resolve) => {
      setTimeout(resolve, sec * 1_000);
    });
  }

  /** defer calls `close` when the fault is over, the last one first. */
  defer(close: () => unknown): void {
    this.#closers.push(close);
  }

  async backends(count = 3): Promise<ChaosBackend[]> {
    const started = await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        const backend = await ChaosBackend.start(String.fromCharCode(97 + i));
        this.defer(() => backend.kill());
        return backend;
      }),
    );
    return started;
  }

  /** subject starts the server with the setup of this run's length, changed by `more`. */
  async subject(backends: readonly { port: number }[], more: Partial<Setup> = {}): Promise<Subject> {
    const setup = this.setup(backends, more);
    const subject = await this.kind.start(setup);
    this.defer(() => subject.stop());
    return subject;
  }

  /** setup makes the configuration that subject() starts with, for reloads too. */
  setup(backends: readonly { port: number }[], more: Partial<Setup> = {}): Setup {
    return {
      backends: backends.map(({ port }) => ({ port, weight: 1 })),
      workers: 2,
      answerMs: 1_000,
      tryMs: 300,
      probeMs: this.of(1_000, 300),
      ejectionMs: this.of(5_000, 1_500),
      slowStartMs: this.of(10_000, 1_000),
      graceMs: 1_000,
      ...more,
    };
  }

  async load({ port }: Subject, options: Partial<ConstantLoadOptions> = {}): Promise<ConstantLoad> {
    const seed = this.random.next();
    const ratePerSec = this.of(1_000, 300);
    const load = await ConstantLoad.start({ port, seed, ratePerSec, ...options });
    this.defer(() => load.stop());
    return load;
  }

  /** quiet lets the load run before anything is broken, and returns what is normal. A first part warms up. */
  async quiet(load: ConstantLoad): Promise<Tally> {
    await this.pause(this.of(3, 0.5));
    const fromMs = nowMs();
    await this.pause(this.of(4, 0.5));
    return load.settled(fromMs, nowMs());
  }

  /** close ends what the fault started, also where one end fails; it throws the first failure. */
  async close(): Promise<void> {
    const errors: unknown[] = [];
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0)
      throw new AggregateError(errors, 'a part of the chaos run did not end as it should');
  }
}

/** noneFailed is the bar that every request has a good answer. */
export function noneFailed(tally: Tally, bar = '0 failed'): Finding {
  return atMost(bar, tally.failed, 0, { unit: ` of ${tally.due}`, more: inWords(tally), exact: true });
}

/** inWords lists the failures of a tally by kind. */
export function inWords({ failures }: Pick<Tally, 'failures'>): string {
  return Object.entries(failures)
    .map(([kind, count]) => `${count} × ${kind}`)
    .join(', ');
}

/** calm is the bar that the p99 stays near that of the quiet time. @param of of which requests */
export function calm(now: Tally, quiet: Tally, times: number, of = ''): Finding {
  return atMost(`p99${of} ≤ ${times} × quiet`, now.p99Ms / quiet.p99Ms, times, {
    ...{ unit: ' ×', digits: 2 },
    more: `${now.p99Ms.toFixed(1)} ms, quiet ${quiet.p99Ms.toFixed(1)} ms`,
  });
}
