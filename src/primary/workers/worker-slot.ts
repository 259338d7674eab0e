/**
 * The place of one worker process. The number stays and processes come and go, as long as the slot is wanted (fleet.ts).
 *
 * States and who moves them:
 * - dead: there is no process. Only start() leads out of it, to starting.
 * - starting: the process was forked. It must say hello, with our protocol version, in time. Then `prepare` tells it all that it
 *   must know, and it must say ready in time. #bringUp() moves it to serving, or kills it.
 * - serving: it accepts connections, and reports once a second. One that is silent for long hangs, and is killed.
 * - draining: shutDown() told it to end, or it says that it ends by itself (a signal of its own, an uncaught exception).
 *   Nothing leads back to serving.
 * #ended() leads from every state to dead, once per process, and reports the death to the supervisor, which decides whether and when
 * the slot starts again. There is a process (#now) in every state but dead.
 */
import { systemClock } from '../../contract/clock.ts';
import { LbError, toError } from '../../contract/errors.ts';
import type { PrimaryMessage, WorkerMessage, WorkerReport } from '../../contract/messages.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { PROTOCOL_VERSION } from '../../infra/protocol-version.ts';
import { atMost, withDeadline } from '../../infra/with-deadline.ts';
import type { EventLog } from '../events/event-log.ts';
import { BackOff } from './back-off.ts';
import { type ForkOptions, forkWorker } from './fork-worker.ts';
import { type WorkerExit, WorkerLink } from './worker-link.ts';

export type WorkerState = 'starting' | 'serving' | 'draining' | 'dead';

export interface WorkerDeath {
  exit: WorkerExit;
  /** The state that it died in. */
  from: WorkerState;
  /** Whether it has served. */
  cameUp: boolean;
  /** 0 where it could not be started. */
  pid: number;
  uptimeMs: number;
  /** Where it ended because it could not listen: the reason, in one sentence. */
  listenFailure: string | null;
}

/** WorkerView is what the admin API and /readyz show of a slot; a copy. */
export interface WorkerView {
  index: number;
  state: WorkerState;
  /** null while there is no process. */
  pid: number | null;
  /** When it was forked, by this process's monotonic clock; null while there is no process. */
  startedAtMs: number | null;
  /** Revision of the settings that it said it runs; null before it is ready. */
  revision: number | null;
  /** Its newest report; null before the first. */
  report: WorkerReport | null;
  /** Left out: it does not wait for its next start. */
  startsInMs?: number;
}

/** What every worker needs; given to the supervisor. */
export interface WorkerOptions extends ForkOptions {
  logger: Logger;
  events: Pick<EventLog, 'record'>;
  /**
   * Sends a new worker its settings, backend states and clients; called once per process, after its hello. Broadcasts reach the
   * worker from this call on, so each snapshot should be read and sent in one turn of the loop. A rejection ends the worker.
   */
  prepare: (link: WorkerLink) => unknown;
  /** Every message of every worker, in order per worker; must not throw. */
  onMessage: (link: WorkerLink, message: WorkerMessage) => void;
}

interface SlotOptions extends WorkerOptions {
  timings: typeof WORKER_TIMINGS;
  onStateChange: (slot: WorkerSlot) => void;
  onDeath: (slot: WorkerSlot, death: WorkerDeath) => void;
}

/** Some are promised to users (B38, B39); the others leave a loaded machine some room. */
export const WORKER_TIMINGS = {
  /** From the fork to the hello. A busy machine takes half a minute (27 s at a load of 28 on two cores), and another start would add to its load. */
  helloMs: 30_000,
  /** From the hello to ready. */
  readyMs: 30_000,
  /** From drained to the exit: on a busy machine that took more than 2 s, and a killed process loses its last log lines. */
  exitMs: 10_000,
  /** From the message `stop` to SIGKILL. */
  stopMs: 300,
  /** A serving worker that is silent this long is logged, then killed. With the supervisor's second and a start: within 12 s. */
  silenceWarnMs: 5_000,
  silenceKillMs: 9_000,
  /** From the fork of all workers to a start with those that serve, if any. */
  startMs: 60_000,
  /** From the end of the drain time to SIGKILL. */
  drainMarginMs: 5_000,
};

/** How long to wait for the end of a killed process; the kernel ends it at once. */
const KILL_MS = 2_000;

/** What is known of the process that a slot has now. */
class SlotProcess {
  readonly link: WorkerLink;
  readonly startedAtMs = systemClock.monotonicMs();
  /** Whether `prepare` has begun: it may be sent messages. */
  reachable = false;
  cameUp = false;
  revision: number | null = null;
  report: WorkerReport | null = null;
  heardAtMs = this.startedAtMs;
  silenceLogged = false;
  listenFailure: string | null = null;
  /** Why it cannot serve, in one sentence. */
  failure: string | null = null;
  readonly up = Promise.withResolvers<string | null>();
  exitTimer: NodeJS.Timeout | undefined;

  constructor(link: WorkerLink) {
    this.link = link;
  }
}

/** WorkerSlot is made by the supervisor, one per worker. */
export class WorkerSlot {
  readonly index: number;
  readonly backOff = new BackOff();
  /** Monotonic: when the supervisor starts it again. null: it does not wait for that. */
  startsAtMs: number | null = null;
  #state: WorkerState = 'dead';
  #hasServed = false;
  #deathCount = 0;
  #now: SlotProcess | null = null;
  readonly #options: SlotOptions;

  constructor(index: number, options: SlotOptions) {
    this.index = index;
    this.#options = options;
  }

  /** @param line of the log, which begins with `worker` @param facts of it, beside the number */
  #record(severity: 'warning' | 'error', line: string, facts: object): void {
    const data = { worker: this.index, ...facts };
    const reason = 'err' in facts && facts.err instanceof Error ? `: ${facts.err.message}` : '';
    const text = `${line.replace(/^worker/, `worker ${this.index}`)}${reason}`;
    this.#options.events.record(
      { kind: 'worker', severity, text, subject: `worker ${this.index}`, data },
      { line },
    );
  }

  get state(): WorkerState {
    return this.#state;
  }

  /** Whether any process of it has served. */
  get hasServed(): boolean {
    return this.#hasServed;
  }

  /** How many of its processes have ended. */
  get deathCount(): number {
    return this.#deathCount;
  }

  /** The link to the process if it may be sent messages, also while it drains; else null. */
  get reachableLink(): WorkerLink | null {
    return this.#now?.reachable === true ? this.#now.link : null;
  }

  /** The link to the process, also while it starts; null: there is none. */
  get link(): WorkerLink | null {
    return this.#now?.link ?? null;
  }

  view(): WorkerView {
    const now = this.#now;
    return {
      index: this.index,
      state: this.#state,
      pid: now?.link.pid ?? null,
      startedAtMs: now?.startedAtMs ?? null,
      revision: now?.revision ?? null,
      report: now?.report ?? null,
      ...(this.startsAtMs !== null && {
        startsInMs: Math.max(0, this.startsAtMs - systemClock.monotonicMs()),
      }),
    };
  }

  /**
   * start forks a process: dead → starting. Does nothing in any other state.
   *
   * @returns resolves with null once the process serves, or, when it has ended before, with the reason in one sentence
   */
  start(): Promise<string | null> {
    if (this.#now !== null) return this.#now.up.promise;
    let link: WorkerLink;
    try {
      const worker = forkWorker(this.index, this.#options, this.#hasServed);
      link = new WorkerLink(worker, this.index, this.#options.logger);
    } catch (thrown) {
      const error = toError(thrown);
      this.#record('error', 'worker could not be forked', { err: error });
      this.#tellDeath({ code: null, signal: null }, 'starting', null);
      return Promise.resolve(error.message);
    }
    const now = new SlotProcess(link);
    this.#now = now;
    link.onMessage((message) => this.#received(now, message));
    void link.exited.then((exit) => this.#ended(now, exit));
    this.#enter('starting');
    void this.#bringUp(now);
    return now.up.promise;
  }

  /**
   * shutDown: starting or serving → draining. A process that cannot be reached yet serves nobody and is killed at once; one that has not
   * ended after timeoutMs is killed then.
   *
   * @returns resolves when the process is gone, with whether it ended in time
   */
  async shutDown(
    message: Extract<PrimaryMessage, { type: 'drain' | 'stop' }>,
    timeoutMs: number,
  ): Promise<boolean> {
    const now = this.#now;
    if (now === null) return true;
    const { link } = now;
    this.#enter('draining');
    if (now.reachable) link.send(message);
    else link.kill();
    if (await atMost(link.exited, timeoutMs)) return true;
    if (link.alive && message.type === 'drain')
      this.#record('warning', 'worker did not drain in time, killing it', { deadlineMs: timeoutMs });
    link.kill();
    await atMost(link.exited, KILL_MS);
    return false;
  }

  /**
   * checkSilence logs a worker that hangs, and kills it later; the supervisor calls it about once a second.
   *
   * @param stalledMs how long the primary itself stood still and heard nobody
   * @returns whether it was just logged
   */
  checkSilence(stalledMs: number): boolean {
    const now = this.#now;
    if (now === null) return false;
    now.heardAtMs += stalledMs;
    if (this.#state === 'starting') return false;
    const { silenceWarnMs, silenceKillMs } = this.#options.timings;
    const silentMs = Math.round(systemClock.monotonicMs() - now.heardAtMs);
    if (silentMs >= silenceKillMs) {
      this.#record('error', 'worker is silent, killing it', { silentMs });
      now.link.kill();
      return false;
    }
    if (silentMs < silenceWarnMs || now.silenceLogged) return false;
    now.silenceLogged = true;
    this.#record('warning', 'worker is silent', { silentMs });
    return true;
  }

  /** starting → serving, or kills a process that does not get there. Never rejects. */
  async #bringUp(now: SlotProcess): Promise<void> {
    const { link } = now;
    const { timings, prepare } = this.#options;
    try {
      const { protocol } = await link.waitFor('hello', timings.helloMs);
      if (protocol !== PROTOCOL_VERSION) {
        const versions = `protocol ${protocol}, not ${PROTOCOL_VERSION}`;
        throw new LbError('worker_gone', `its files are of another version (${versions}): restart Sluice`);
      }
      if (this.#state !== 'starting') return;
      now.reachable = true;
      // The wait begins before `prepare`, whose last message lets the worker listen: its `ready` must find somebody waiting.
      const ready = link.waitFor('ready', timings.readyMs);
      // The async function makes an exception of `prepare` a rejection, so that `ready` is awaited in any case.
      const prepared = withDeadline((async () => prepare(link))(), timings.readyMs, 'preparing a worker');
      const [{ revision }] = await Promise.all([ready, prepared]);
      now.revision ??= revision;
      now.heardAtMs = systemClock.monotonicMs();
      if (this.#now !== now || this.#state !== 'starting') return;
      now.cameUp = true;
      this.#enter('serving');
      now.up.resolve(null);
    } catch (thrown) {
      if (!link.alive || this.#state !== 'starting') return;
      const error = toError(thrown);
      now.failure = error.message;
      this.#record('error', 'worker did not start, killing it', { err: error });
      link.kill();
    }
  }

  #received(now: SlotProcess, message: WorkerMessage): void {
    now.heardAtMs = systemClock.monotonicMs();
    now.silenceLogged = false;
    if (message.type === 'report') now.report = message.report;
    else if (message.type === 'applied') now.revision = message.revision;
    else if (message.type === 'draining' && this.#state === 'serving') this.#enter('draining');
    else if (message.type === 'drained')
      now.exitTimer ??= setTimeout(() => now.link.kill(), this.#options.timings.exitMs);
    else if (message.type === 'listen-failed') {
      now.listenFailure = message.reason;
      now.failure = message.reason;
      // It cannot serve. Its end is how the supervisor learns of it.
      now.link.kill();
    }
    this.#options.onMessage(now.link, message);
  }

  #ended(now: SlotProcess, exit: WorkerExit): void {
    clearTimeout(now.exitTimer);
    const from = this.#state;
    this.#now = null;
    this.#enter('dead');
    this.#tellDeath(exit, from, now);
    now.up.resolve(now.failure ?? `it ended before it served (${exit.signal ?? `exit code ${exit.code}`})`);
  }

  #tellDeath(exit: WorkerExit, from: WorkerState, now: SlotProcess | null): void {
    this.#deathCount++;
    const uptimeMs = now === null ? 0 : Math.round(systemClock.monotonicMs() - now.startedAtMs);
    const { cameUp = false, listenFailure = null } = now ?? {};
    this.#options.onDeath(this, { exit, from, cameUp, pid: now?.link.pid ?? 0, uptimeMs, listenFailure });
  }

  #enter(state: WorkerState): void {
    if (this.#state === state) return;
    this.#state = state;
    if (state === 'serving') this.#hasServed = true;
    this.#options.onStateChange(this);
  }
}
