/**
 * The fleet of workers: forks one per slot, replaces those that end, watches for hung ones, and ends them all in order.
 *
 * Phases and who moves them:
 * - idle: nothing is forked. start() leads to running.
 * - running: a worker that ends is replaced, at once or after its back-off. drain() and stopNow() lead to stopping, #fail() to
 *   failed: where no worker has ever served and either each slot died MAX_FAILED_STARTS times or an address cannot be had. Once a
 *   worker has served, the supervisor never gives up.
 * - stopping: nobody is replaced. Nothing leads out of it. stopNow() may cut a drain() short.
 * - failed: as stopping, and start() rejects.
 * The states of one worker are in worker-slot.ts.
 */
import type { ChildProcess } from 'node:child_process';
import cluster from 'node:cluster';
import type { Clock } from '../../contract/clock.ts';
import type { DataPath } from '../../contract/data-path.ts';
import { LbError } from '../../contract/errors.ts';
import {
  type PrimaryMessage,
  WORKER_PLACE,
  type WorkerMessage,
  type WorkerPlace,
} from '../../contract/messages.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { workerArguments } from './worker-arguments.ts';
import type { WorkerLink } from './worker-link.ts';
import {
  type SlotTimings,
  type WorkerDeath,
  WorkerSlot,
  type WorkerState,
  type WorkerView,
} from './worker-slot.ts';

export interface SupervisorOptions {
  /** Absolute path of the worker's entry file. */
  exec: string;
  /** Node's own arguments for workers; default workerArguments(). */
  execArgv?: string[];
  /** ≥ 1; known once `auto` is resolved. */
  workerCount: number;
  /** How workers serve. */
  dataPath: DataPath;
  /** What the worker of a slot inherits, asked at each fork: ListenSockets.inheritedBy. Default nothing. */
  inheritedBy?: (index: number) => { fds: number[]; env: (number | null)[] };
  clock: Clock;
  logger: Logger;
  /**
   * Sends a new worker its settings, backend states and clients; called once per process after its hello. Each snapshot
   * should be read and sent in one turn: broadcasts reach the worker from this call on. A rejection ends the worker.
   */
  prepare: (link: WorkerLink) => unknown;
  /** Every message of every worker, in order per worker; must not throw. */
  onMessage: (link: WorkerLink, message: WorkerMessage) => void;
  /** After any slot changed its state; for logs and tests. */
  onStateChange?: (view: WorkerView) => void;
  /** For tests; the defaults are DEFAULT_TIMINGS. */
  timings?: Partial<SupervisorTimings>;
}

export interface SupervisorTimings extends SlotTimings {
  /** Silence of a serving worker that is logged, and that ends it. */
  silenceWarnMs: number;
  silenceKillMs: number;
  /** After it, start() is content with the workers that serve, if any. */
  startMs: number;
  /** Added to grace and drain time before SIGKILL. */
  drainMarginMs: number;
}

/** Some deadlines are promised to users (B38, B39); the others leave a loaded machine some room. */
const DEFAULT_TIMINGS: SupervisorTimings = {
  helloMs: 10_000,
  readyMs: 30_000,
  exitMs: 2_000,
  stopMs: 300,
  silenceWarnMs: 5_000,
  silenceKillMs: 30_000,
  startMs: 60_000,
  drainMarginMs: 5_000,
};

/** Starts that every slot may spend before it is certain that workers cannot live at all. */
const MAX_FAILED_STARTS = 3;
const WATCH_EVERY_MS = 1_000;

type Phase = 'idle' | 'running' | 'stopping' | 'failed';

/** Supervisor is built once by the primary's main; cluster is process-wide, so there is one at a time. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #timings: SupervisorTimings;
  readonly #slots: WorkerSlot[];
  readonly #failedStarts: number[];
  readonly #restartTimers = new Map<WorkerSlot, NodeJS.Timeout>();
  readonly #started = Promise.withResolvers<void>();
  #phase: Phase = 'idle';
  /** Indexes of the slots whose workers have served at some time. */
  readonly #served = new Set<number>();
  #startOverdue = false;
  #startTimer: NodeJS.Timeout | undefined;
  #watchTimer: NodeJS.Timeout | undefined;
  #watchedAtMs = 0;
  #restartCount = 0;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#timings = { ...DEFAULT_TIMINGS, ...options.timings };
    this.#slots = Array.from({ length: options.workerCount }, (_, index) => this.#makeSlot(index));
    this.#failedStarts = this.#slots.map(() => 0);
    // A rejection that nobody waits for any more (a stop during the start) is no accident.
    this.#started.promise.catch(() => undefined);
  }

  /**
   * start forks all workers.
   *
   * @returns resolves once every worker serves (after startMs: once one does). Rejects with LbError `listen_failed` or `worker_gone`, all processes being gone, when no worker could ever serve, and with
   *   `worker_gone` when drain or stopNow came first.
   */
  start(): Promise<void> {
    if (this.#phase !== 'idle') return this.#started.promise;
    this.#phase = 'running';
    for (const slot of this.#slots) slot.start();
    this.#watchedAtMs = this.#options.clock.monotonicMs();
    this.#watchTimer = setInterval(() => this.#watch(), WATCH_EVERY_MS);
    this.#startTimer = setTimeout(() => {
      this.#startOverdue = true;
      this.#settleStart();
    }, this.#timings.startMs);
    return this.#started.promise;
  }

  /** broadcast sends to every worker whose `prepare` was called, draining ones too: they still serve. */
  broadcast(message: PrimaryMessage): void {
    for (const link of this.links()) link.send(message);
  }

  /** links are the workers that broadcast reaches; for waits on each, such as acknowledgements of a revision. */
  links(): WorkerLink[] {
    return this.#slots.flatMap((slot) => slot.reachableLink ?? []);
  }

  /** workers lists every slot with what its process last reported; for the admin API. */
  workers(): WorkerView[] {
    return this.#slots.map((slot) => slot.view());
  }

  /** counts is the number of slots by state; for /readyz and the metric of workers. */
  counts(): Record<WorkerState, number> {
    const counts: Record<WorkerState, number> = { starting: 0, serving: 0, draining: 0, dead: 0 };
    for (const slot of this.#slots) counts[slot.state]++;
    return counts;
  }

  /** Workers that died and were replaced so far. */
  get restartCount(): number {
    return this.#restartCount;
  }

  /**
   * drain ends all workers gently: each serves on for graceMs, then finishes what is in flight for at most drainMs. Nobody
   * is replaced from now on.
   *
   * @returns resolves when all are gone, with the number that had to be killed
   */
  async drain({ graceMs, drainMs }: { graceMs: number; drainMs: number }): Promise<{ killedCount: number }> {
    this.#leaveRunning('stopping');
    const deadlineMs = graceMs + drainMs + this.#timings.drainMarginMs;
    const gentle = await Promise.all(
      this.#slots.map((slot) => slot.drain({ type: 'drain', graceMs, drainMs }, deadlineMs)),
    );
    return { killedCount: gentle.filter((wentByItself) => !wentByItself).length };
  }

  /** stopNow ends all workers at once, also during a drain; resolves when they are gone. */
  async stopNow(): Promise<void> {
    this.#leaveRunning('stopping');
    await Promise.all(this.#slots.map((slot) => slot.stop()));
  }

  #makeSlot(index: number): WorkerSlot {
    const { clock, logger, prepare, onMessage } = this.#options;
    return new WorkerSlot(index, {
      clock,
      logger,
      timings: this.#timings,
      fork: () => this.#fork(index),
      prepare,
      onMessage,
      onStateChange: (slot) => this.#changed(slot),
      onDeath: (slot, death) => this.#afterDeath(slot, death),
    });
  }

  #fork(index: number): ChildProcess {
    const { exec, execArgv = workerArguments(), workerCount, dataPath, inheritedBy } = this.#options;
    const { fds, env } = inheritedBy?.(index) ?? { fds: [], env: [] };
    cluster.setupPrimary({
      exec,
      execArgv,
      args: [],
      stdio: ['inherit', 'inherit', 'inherit', 'ipc', ...fds],
    });
    const replacement = this.#served.has(index);
    const place: WorkerPlace = { workerIndex: index, workerCount, replacement, dataPath, listenFds: env };
    const worker = cluster.fork({ [WORKER_PLACE]: JSON.stringify(place) });
    // The cluster repeats the errors of the process, which WorkerLink hears of; without a listener they would end the primary.
    worker.on('error', (error) => this.#options.logger.debug({ err: error }, 'error of a worker process'));
    return worker.process;
  }

  #changed(slot: WorkerSlot): void {
    if (slot.state === 'serving') {
      this.#served.add(slot.index);
      this.#settleStart();
    }
    this.#options.onStateChange?.(slot.view());
  }

  #settleStart(): void {
    const serving = this.#slots.filter((slot) => slot.state === 'serving');
    const enough = serving.length === this.#slots.length || (this.#startOverdue && serving.length > 0);
    if (!enough || this.#phase !== 'running') return;
    clearTimeout(this.#startTimer);
    this.#started.resolve();
  }

  /** Logs a death and decides whether the slot starts again, and when. */
  #afterDeath(slot: WorkerSlot, { pid, exit, from, uptimeMs, listenFailure }: WorkerDeath): void {
    const { clock, logger } = this.#options;
    const facts = { worker: slot.index, workerPid: pid, ...exit, state: from, uptimeMs };
    const toldToGo = from === 'draining' && exit.code === 0;
    if (this.#phase !== 'running') {
      logger.info(facts, 'worker ended');
      return;
    }
    if (listenFailure !== null && this.#served.size === 0) {
      this.#fail(new LbError('listen_failed', listenFailure));
      return;
    }
    const restartInMs = slot.backOff.delayMsAfter(clock.monotonicMs());
    if (toldToGo) logger.info({ ...facts, restartInMs }, 'worker ended, starting another');
    else logger.error({ ...facts, restartInMs }, 'worker died');
    this.#failedStarts[slot.index]!++;
    if (this.#served.size === 0 && this.#failedStarts.every((count) => count >= MAX_FAILED_STARTS)) {
      const message = `no worker could start: each died ${MAX_FAILED_STARTS} times before serving`;
      this.#fail(new LbError('worker_gone', message));
      return;
    }
    this.#startLater(slot, restartInMs);
  }

  #startLater(slot: WorkerSlot, delayMs: number): void {
    const start = () => {
      this.#restartTimers.delete(slot);
      this.#restartCount++;
      slot.start();
    };
    this.#restartTimers.set(slot, setTimeout(start, delayMs));
  }

  #fail(error: LbError): void {
    this.#leaveRunning('failed');
    void Promise.all(this.#slots.map((slot) => slot.stop())).then(() => this.#started.reject(error));
  }

  /** No replacement from here on. */
  #leaveRunning(phase: 'stopping' | 'failed'): void {
    if (this.#phase === 'failed') return;
    this.#phase = phase;
    clearTimeout(this.#startTimer);
    clearInterval(this.#watchTimer);
    for (const timer of this.#restartTimers.values()) clearTimeout(timer);
    this.#restartTimers.clear();
    if (phase === 'stopping') {
      this.#started.reject(new LbError('worker_gone', 'stopped before every worker was ready'));
    }
  }

  #watch(): void {
    const nowMs = this.#options.clock.monotonicMs();
    const stalledMs = nowMs - this.#watchedAtMs - WATCH_EVERY_MS;
    this.#watchedAtMs = nowMs;
    for (const slot of this.#slots) {
      // A primary that was suspended has not heard anybody: that is no worker's fault.
      if (stalledMs > WATCH_EVERY_MS) slot.forgive(stalledMs);
      slot.checkSilence(nowMs, { warnMs: this.#timings.silenceWarnMs, killMs: this.#timings.silenceKillMs });
    }
  }
}
