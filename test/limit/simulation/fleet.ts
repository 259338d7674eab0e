/** The workers of all machines, their connections, the store, and the faults. */
import type { PolicySettings } from '../../../src/contract/settings.ts';
import { bucketKey } from '../../../src/limit/bucket/bucket-key.ts';
import type { Caller } from '../../../src/limit/caller/identity.ts';
import type { Random } from '../../fuzz/random.ts';
import { Auditor } from './auditor.ts';
import type { Weather } from './link.ts';
import { type Execution, type Sabotage, SimStore } from './sim-store.ts';
import { type Answer, type Asked, SimWorker } from './sim-worker.ts';
import type { VirtualTime } from './virtual-time.ts';

interface FleetOptions {
  time: VirtualTime;
  random: Random;
  machines: number;
  workersPerMachine: number;
  weather: Weather;
  leases: boolean;
  timeoutMs: number;
  /** Longest time from a grant to the admission. */
  lagMs: number;
  policies: PolicySettings[];
  versionUs: number;
  sabotage: Sabotage | null;
  /** Also hears of every take at the store. */
  onTake?: (execution: Execution) => void;
}

/** Longest time until a connection broken by the store is back. */
const RECONNECT_MS = 400;
/** Longest time until an operator's refill reaches every worker. */
const RESET_SPREAD_MS = 200;

export class Fleet {
  readonly store: SimStore;
  readonly auditor: Auditor;
  readonly #options: FleetOptions;
  readonly #workers: SimWorker[] = [];
  readonly #clocks: { offsetMs: number; speed: number }[];
  #weather: Weather;
  #configured: { policies: PolicySettings[]; versionUs: number };
  /** Number of workers that the instances have counted. */
  #counted: number;
  #started = 0;

  constructor(options: FleetOptions) {
    const { time, random, machines, workersPerMachine } = options;
    this.#options = options;
    this.#weather = options.weather;
    this.#configured = { policies: options.policies, versionUs: options.versionUs };
    const onTake = (execution: Execution) => {
      options.onTake?.(execution);
      this.auditor.onTake(execution);
    };
    this.store = new SimStore(time, onTake, options.sabotage);
    const workers = machines * workersPerMachine;
    this.#counted = workers;
    this.auditor = new Auditor({ time, store: this.store, lagMs: options.lagMs });
    // Machines boot at different times, and their clocks differ by up to 50 ppm.
    this.#clocks = Array.from({ length: machines }, () => ({
      offsetMs: random.below(1_000_000_000) / 1_000,
      speed: 1 + (random.below(101) - 50) / 1_000_000,
    }));
    for (let i = 0; i < workers; i++) this.#workers.push(this.#start(i));
  }

  get workers(): readonly SimWorker[] {
    return this.#workers;
  }

  worker(index: number): SimWorker {
    const found = this.#workers[index % this.#workers.length];
    if (found === undefined) throw new Error('a fleet without workers');
    return found;
  }

  /** @param skew percentage of requests that always go to the first worker */
  anyWorker(skew: number): SimWorker | null {
    const { random } = this.#options;
    const first = random.below(100) < skew ? 0 : random.below(this.#workers.length);
    for (let i = 0; i < this.#workers.length; i++) {
      const worker = this.worker(first + i);
      if (worker.accepting) return worker;
    }
    return null;
  }

  request(worker: SimWorker, asked: Asked, onAnswer: (answer: Answer) => void): void {
    worker.request(asked, this.auditor, onAnswer);
  }

  /** Replaces it at once by a worker without any state. */
  crash(index: number): void {
    const worker = this.worker(index);
    worker.crash();
    this.auditor.crashed(worker);
    this.#replace(worker);
  }

  drain(index: number): void {
    const worker = this.worker(index);
    worker.drain();
    this.#replace(worker);
  }

  configure(policies: PolicySettings[], versionUs: number, spreadMs: number): void {
    const { time, random } = this.#options;
    this.#configured = { policies, versionUs };
    for (const worker of this.#workers) {
      time.after(random.below(spreadMs + 1), () => {
        // A later change may have arrived earlier.
        if (this.#configured.versionUs === versionUs) this.#tell(worker);
      });
    }
  }

  /** recount tells the workers, one after the other, how many they are. */
  recount(workers: number, spreadMs: number): void {
    const { time, random } = this.#options;
    this.#counted = workers;
    for (const worker of this.#workers)
      time.after(random.below(spreadMs + 1), () => worker.shareAmong(workers));
  }

  resetBuckets(caller: Caller, policies: readonly PolicySettings[]): void {
    const { time, random } = this.#options;
    for (const policy of policies) {
      const key = bucketKey(caller.bucketHash, policy.name);
      this.store.reset(key);
      this.auditor.lost(key);
      for (const worker of this.#workers) {
        time.after(random.below(RESET_SPREAD_MS), () => {
          worker.resetBucket(key, () => this.auditor.refilled(worker, key));
        });
      }
    }
  }

  restartEmpty(): void {
    this.store.restartEmpty();
    this.auditor.lost(null);
    this.#cutAll();
  }

  failOver(lostMs: number): void {
    this.auditor.failedOver(this.store.failOver(lostMs));
    this.#cutAll();
  }

  stepClock(byMs: number): void {
    this.store.stepClock(byMs);
    this.auditor.clockStepped(byMs);
  }

  partition(workers: readonly number[], forMs: number, keeps: boolean): void {
    const cutOff = workers.map((index) => this.worker(index).link);
    for (const link of cutOff) link.partition(keeps);
    this.#options.time.after(forMs, () => {
      for (const link of cutOff) link.heal();
    });
  }

  freeze(forMs: number): void {
    this.store.freeze();
    this.#options.time.after(forMs, () => this.store.thaw());
  }

  refuse(forMs: number): void {
    this.store.refusing = true;
    this.#options.time.after(forMs, () => {
      this.store.refusing = false;
    });
  }

  changeWeather(weather: Partial<Weather>, forMs: number): void {
    this.#weather = { ...this.#options.weather, ...weather };
    this.#options.time.after(forMs, () => {
      this.#weather = this.#options.weather;
    });
  }

  expectNobodyWaits(): void {
    for (const { name, alive, waiting } of this.#workers) {
      if (alive && waiting > 0) this.auditor.complain(`${name} left ${waiting} requests without an answer`);
    }
  }

  #cutAll(): void {
    for (const { link } of this.#workers) link.cut(this.#options.random.below(RECONNECT_MS));
  }

  #replace(worker: SimWorker): void {
    const index = this.#workers.indexOf(worker);
    this.#workers[index] = this.#start(index);
  }

  #tell(worker: SimWorker): void {
    const { policies, versionUs } = this.#configured;
    worker.configure(policies, versionUs);
  }

  #start(index: number): SimWorker {
    const { time, random, machines, workersPerMachine, timeoutMs, leases } = this.#options;
    const clock = this.#clocks[Math.floor(index / workersPerMachine)] ?? { offsetMs: 0, speed: 1 };
    const { auditor } = this;
    const worker: SimWorker = new SimWorker({
      name: `worker ${index} (${++this.#started})`,
      time,
      store: this.store,
      random,
      weather: () => this.#weather,
      events: {
        sent: (takes) => auditor.sent(worker, takes),
        executed: (batch) => auditor.executed(worker, batch),
        delivered: (batch) => auditor.delivered(worker, batch),
      },
      timeoutMs,
      workers: workersPerMachine,
      instances: machines,
      leases,
      clockOffsetMs: clock.offsetMs,
      clockSpeed: clock.speed,
      onError: (message) => auditor.complain(`logged an error: ${message}`),
    });
    this.#tell(worker);
    worker.shareAmong(this.#counted);
    return worker;
  }
}
