/**
 * The fleet of workers: starts one per slot, replaces those that end, watches for those that hang, and ends them all.
 *
 * Phases and who moves them:
 * - idle: nothing is forked. start() leads to running.
 * - running: a worker that ends is replaced, at once or after its back-off (back-off.ts). replaceWorkers() replaces all. drain() and
 *   stopNow() lead to stopping. #fail() leads to failed while no worker has ever served: when a worker cannot listen, or each slot has died
 *   MAX_FAILED_STARTS times. Once a worker has served, the supervisor never gives up.
 * - stopping: nobody is replaced. Nothing leads out of it. stopNow() may cut a drain() short.
 * - failed: as stopping, and start() rejects.
 * The states of one worker are in worker-slot.ts.
 */
import { systemClock } from '../../contract/clock.ts';
import { LbError } from '../../contract/errors.ts';
import type { PrimaryMessage } from '../../contract/messages.ts';
import { Fleet } from './fleet.ts';
import { type Roll, rollWorkers } from './rolling-replacement.ts';
import type { WorkerLink } from './worker-link.ts';
import {
  WORKER_TIMINGS,
  type WorkerDeath,
  type WorkerOptions,
  WorkerSlot,
  type WorkerState,
  type WorkerView,
} from './worker-slot.ts';

export interface SupervisorOptions extends WorkerOptions {
  /** After any slot changed its state; for tests. */
  onStateChange?: (view: WorkerView) => void;
  /** Whether a thread watches the loop of every worker from its start on, not only once a worker has hung. */
  watchLoops?: boolean;
  /** For tests. */
  timings?: Partial<typeof WORKER_TIMINGS>;
}

/** The start has failed when every slot has died this often and no worker has ever served. */
const MAX_FAILED_STARTS = 3;
const WATCH_EVERY_MS = 1_000;

type Phase = 'idle' | 'running' | 'stopping' | 'failed';

/** Supervisor is made once by PrimaryParts: node:cluster has one state per process. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #timings: typeof WORKER_TIMINGS;
  readonly #fleet: Fleet;
  #rolling = false;
  readonly #restartTimers = new Map<WorkerSlot, NodeJS.Timeout>();
  readonly #started = Promise.withResolvers<void>();
  #phase: Phase = 'idle';
  #startOverdue = false;
  #startTimer: NodeJS.Timeout | undefined;
  #watchTimer: NodeJS.Timeout | undefined;
  #watchedAtMs = 0;
  /** Whether the workers have been told to watch their loops. */
  #watchLoops: boolean;
  /** Workers that died and were replaced so far. */
  restartCount = 0;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const timings = { ...WORKER_TIMINGS, ...options.timings };
    this.#timings = timings;
    this.#watchLoops = options.watchLoops ?? false;
    const onStateChange = (slot: WorkerSlot) => this.#changed(slot);
    const onDeath = (slot: WorkerSlot, death: WorkerDeath) => this.#afterDeath(slot, death);
    const slotOptions = { ...options, timings, onStateChange, onDeath };
    this.#fleet = new Fleet(options.workerCount(), (index) => new WorkerSlot(index, slotOptions));
    // Whoever stops the fleet during the start waits for it no more; the rejection must not end the process.
    this.#started.promise.catch(() => undefined);
  }

  /**
   * start forks all workers.
   *
   * @returns resolves once every worker serves (after startMs: once one does). Rejects with LbError `listen_failed` or `worker_gone`
   *   when no worker could ever serve and all processes are gone, and with `worker_gone` when drain or stopNow came first.
   */
  start(): Promise<void> {
    if (this.#phase !== 'idle') return this.#started.promise;
    this.#phase = 'running';
    for (const slot of this.#fleet.slots) void slot.start();
    this.#watchedAtMs = systemClock.monotonicMs();
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

  /** links are the workers that broadcast reaches. */
  links(): WorkerLink[] {
    return this.#fleet.links();
  }

  /** servingLinks are the workers that serve, for questions that any of them can answer. */
  servingLinks(): WorkerLink[] {
    return this.#fleet.servingLinks();
  }

  /** ratedLinks are those whose rates together are the rates of now; see Fleet. */
  ratedLinks(): WorkerLink[] {
    return this.#fleet.ratedLinks();
  }

  /** everyLink: those of all processes that were forked, for what they could not inherit. */
  everyLink(): WorkerLink[] {
    return this.#fleet.everyLink();
  }

  /** workers lists every slot, the wanted ones first, with what its process last reported; for the admin API. */
  workers(): ReturnType<Fleet['views']> {
    return this.#fleet.views();
  }

  /** counts is the number of slots by state; for /readyz and the metric of workers. */
  counts(): Record<WorkerState, number> {
    return this.#fleet.counts();
  }

  /**
   * replaceWorkers replaces them one by one with the code on disk (rolling-replacement.ts).
   *
   * @param drainMs how long a replaced worker may take to finish
   * @returns null: one is under way already, or the fleet does not run
   */
  replaceWorkers(drainMs: number): Roll | null {
    if (this.#rolling || this.#phase !== 'running') return null;
    this.#rolling = true;
    const roll = rollWorkers({
      fleet: this.#fleet,
      events: this.#options.events,
      isRunning: () => this.#phase === 'running',
      drainMs,
      marginMs: this.#timings.drainMarginMs,
    });
    const over = () => {
      this.#rolling = false;
    };
    roll.ended.then(over, over);
    return roll;
  }

  /** resize starts further workers, or drains the highest ones. @param drainMs how long these may take to finish */
  resize(count: number, drainMs: number): void {
    if (this.#phase !== 'running') return;
    const { made, dropped } = this.#fleet.resize(count);
    for (const slot of made) void slot.start();
    const timeoutMs = drainMs + this.#timings.drainMarginMs;
    for (const slot of dropped) {
      void slot
        .shutDown({ type: 'drain', graceMs: 0, drainMs, patient: true }, timeoutMs)
        .then(() => this.#fleet.forget(slot));
    }
  }

  /**
   * drain ends all workers gently: each serves on for graceMs, then finishes what is in flight, drainMs at most. No worker is
   * replaced from now on.
   *
   * @param times patient: workers of another primary serve
   * @returns resolves when all are gone, with the number that had to be killed
   */
  async drain({
    graceMs,
    drainMs,
    patient = false,
  }: {
    graceMs: number;
    drainMs: number;
    patient?: boolean;
  }): Promise<{ killedCount: number }> {
    this.#leaveRunning('stopping');
    const timeoutMs = graceMs + drainMs + this.#timings.drainMarginMs;
    const gentle = await Promise.all(
      this.#fleet.all().map((slot) => slot.shutDown({ type: 'drain', graceMs, drainMs, patient }, timeoutMs)),
    );
    return { killedCount: gentle.filter((wentByItself) => !wentByItself).length };
  }

  /** stopNow ends all workers at once, also during a drain; resolves when they are gone. */
  async stopNow(): Promise<void> {
    this.#leaveRunning('stopping');
    await this.#stopAll();
  }

  /** Resolves when all are gone. */
  async #stopAll(): Promise<void> {
    await Promise.all(this.#fleet.all().map((slot) => slot.shutDown({ type: 'stop' }, this.#timings.stopMs)));
  }

  #changed(slot: WorkerSlot): void {
    if (slot.state === 'serving') {
      this.#recordServing(slot);
      this.#settleStart();
      if (this.#watchLoops) slot.reachableLink?.send({ type: 'watch-loop' });
    }
    this.#options.onStateChange?.(slot.view());
  }

  /** Without a line: the worker writes its own. */
  #recordServing({ index, link }: WorkerSlot): void {
    const [subject, workerPid] = [`worker ${index}`, link?.pid ?? 0];
    const text = `${subject} serves (pid ${workerPid})`;
    const data = { worker: index, workerPid };
    this.#options.events.record({ kind: 'worker', severity: 'info', text, subject, data }, { line: null });
  }

  #settleStart(): void {
    const { slots } = this.#fleet;
    const serving = slots.filter((slot) => slot.state === 'serving');
    const enough = serving.length === slots.length || (this.#startOverdue && serving.length > 0);
    if (!enough || this.#phase !== 'running') return;
    clearTimeout(this.#startTimer);
    this.#started.resolve();
  }

  /** Logs a death and decides whether the slot starts again, and when. */
  #afterDeath(slot: WorkerSlot, { pid, exit, from, cameUp, uptimeMs, listenFailure }: WorkerDeath): void {
    const facts = { worker: slot.index, workerPid: pid, ...exit, state: from, uptimeMs };
    const record = (severity: 'info' | 'error', line: string, more: object = {}): void => {
      const subject = `worker ${slot.index}`;
      const text = `${line.replace(/^worker/, subject)} (${exit.signal ?? `exit code ${exit.code}`})`;
      const data = { ...facts, ...more };
      this.#options.events.record({ kind: 'worker', severity, text, subject, data }, { line });
    };
    if (this.#phase !== 'running') {
      record('info', 'worker ended');
      return;
    }
    const toldToGo = from === 'draining' && exit.code === 0;
    if (!this.#fleet.isWanted(slot)) {
      this.#fleet.forget(slot);
      if (toldToGo) record('info', 'worker that is wanted no more ended');
      else record('error', 'worker died, and is not started again');
      return;
    }
    const { slots } = this.#fleet;
    const neverServed = !slots.some(({ hasServed }) => hasServed);
    if (listenFailure !== null && neverServed) {
      this.#fail(new LbError('listen_failed', listenFailure));
      return;
    }
    const restartInMs = slot.backOff.delayMsAfter(cameUp, uptimeMs);
    if (toldToGo) record('info', 'worker ended, starting another', { restartInMs });
    else record('error', 'worker died', { restartInMs });
    if (neverServed && slots.every(({ deathCount }) => deathCount >= MAX_FAILED_STARTS)) {
      const message = `no worker could start: each died ${MAX_FAILED_STARTS} times before serving`;
      this.#fail(new LbError('worker_gone', message));
      return;
    }
    const start = () => {
      this.#restartTimers.delete(slot);
      slot.startsAtMs = null;
      // A replacement may have taken its place.
      if (!this.#fleet.isWanted(slot)) return;
      this.restartCount++;
      void slot.start();
    };
    slot.startsAtMs = systemClock.monotonicMs() + restartInMs;
    this.#restartTimers.set(slot, setTimeout(start, restartInMs));
  }

  #fail(error: LbError): void {
    this.#leaveRunning('failed');
    void this.#stopAll().then(() => this.#started.reject(error));
  }

  /** From here on no worker is replaced. */
  #leaveRunning(phase: 'stopping' | 'failed'): void {
    if (this.#phase === 'failed') return;
    this.#phase = phase;
    clearTimeout(this.#startTimer);
    clearInterval(this.#watchTimer);
    for (const [slot, timer] of this.#restartTimers) {
      clearTimeout(timer);
      slot.startsAtMs = null;
    }
    this.#restartTimers.clear();
    if (phase === 'stopping') {
      this.#started.reject(new LbError('worker_gone', 'stopped before every worker was ready'));
    }
  }

  #watch(): void {
    const nowMs = systemClock.monotonicMs();
    const lateMs = nowMs - this.#watchedAtMs - WATCH_EVERY_MS;
    this.#watchedAtMs = nowMs;
    // A primary that was suspended heard nobody, which is not the workers' fault.
    const stalledMs = lateMs > WATCH_EVERY_MS ? lateMs : 0;
    const hung = this.#fleet.all().filter((slot) => slot.checkSilence(stalledMs));
    if (hung.length > 0 && !this.#watchLoops) {
      // What hung one worker may hang the next.
      this.#watchLoops = true;
      this.broadcast({ type: 'watch-loop' });
    }
    const meanConnections = meanConnectionsOf(this.workers());
    if (meanConnections !== null) this.broadcast({ type: 'fleet', meanConnections });
  }
}

/**
 * meanConnectionsOf is what the workers are told once a second. The kernel gives a new connection to whichever worker wakes first, so
 * with more workers than CPUs some collect twice their share. A worker above the mean ends its surplus with `Connection: close` on
 * answers (worker/inbound/server.ts).
 *
 * @returns null until two serving workers have reported: then none can have too many
 */
export function meanConnectionsOf(workers: readonly WorkerView[]): number | null {
  const counts = workers.flatMap(({ state, report }) =>
    state === 'serving' && report !== null ? [report.connections] : [],
  );
  if (counts.length < 2) return null;
  return counts.reduce((sum, count) => sum + count, 0) / counts.length;
}
