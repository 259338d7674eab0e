/**
 * One place for a worker process. The place and its number stay; processes come and go.
 *
 * States and who moves them:
 * - dead: there is no process. Only start() leads out of it, to starting.
 * - starting: the process was forked. It must say hello (with our protocol version) in time, is told by `prepare` all it must
 *   know, and must say ready in time; #bringUp() moves it to serving, or kills it.
 * - serving: it accepts connections. A worker reports once a second; one that is silent for long has a hung loop and is killed.
 * - draining: it was told to end by drain() or stop(), or says that it does so by itself (a signal of its own, an uncaught
 *   exception). Nothing leads back to serving.
 * #ended() leads from every state to dead, once per process, and reports the death to the supervisor, which decides about a
 * replacement. There is a process (#now) in every state but dead.
 */
import type { ChildProcess } from 'node:child_process';
import type { Clock } from '../../contract/clock.ts';
import { LbError, toError } from '../../contract/errors.ts';
import {
  PROTOCOL_VERSION,
  type PrimaryMessage,
  type WorkerMessage,
  type WorkerReport,
} from '../../contract/messages.ts';
import { atMost, withDeadline } from '../../infra/lifecycle.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { BackOff } from './back-off.ts';
import { type WorkerExit, WorkerLink } from './worker-link.ts';

export type WorkerState = 'starting' | 'serving' | 'draining' | 'dead';

export interface WorkerDeath {
  exit: WorkerExit;
  /** The state that it died in. */
  from: WorkerState;
  pid: number;
  uptimeMs: number;
  /** Why it could not listen, in one sentence, if that is what ended it. */
  listenFailure: string | null;
}

/** WorkerView is what the admin API and /readyz show of a slot; a copy. */
export interface WorkerView {
  index: number;
  state: WorkerState;
  /** null while there is no process. */
  pid: number | null;
  /** Wall clock of the fork; null while there is no process. */
  startedAtMs: number | null;
  /** Revision of the settings that it said it runs; null before it is ready. */
  revision: number | null;
  /** Its newest report; null before the first. */
  report: WorkerReport | null;
}

/** What the supervisor gives to its slots. */
export interface SlotOptions {
  clock: Clock;
  logger: Logger;
  timings: SlotTimings;
  fork: (index: number) => ChildProcess;
  /** Sends a new worker all it must know before it can serve. */
  prepare: (link: WorkerLink) => unknown;
  onMessage: (link: WorkerLink, message: WorkerMessage) => void;
  onStateChange: (slot: WorkerSlot) => void;
  onDeath: (slot: WorkerSlot, death: WorkerDeath) => void;
}

export interface SlotTimings {
  /** From the fork to the hello. */
  helloMs: number;
  /** From the hello to ready. */
  readyMs: number;
  /** From drained to the exit. */
  exitMs: number;
  /** From the word stop to SIGKILL. */
  stopMs: number;
}

/** How long a killed process is waited for; the kernel takes it away at once. */
const KILL_MS = 2_000;

/** What is known of the process that a slot has now. */
interface SlotProcess {
  link: WorkerLink;
  startedAtMs: number;
  startedAtWallMs: number;
  /** Whether `prepare` has begun: it may be sent things. */
  reachable: boolean;
  revision: number | null;
  report: WorkerReport | null;
  heardAtMs: number;
  silenceLogged: boolean;
  listenFailure: string | null;
  exitTimer: NodeJS.Timeout | undefined;
}

/** WorkerSlot is made by the supervisor, one per worker. */
export class WorkerSlot {
  readonly index: number;
  readonly backOff = new BackOff();
  #state: WorkerState = 'dead';
  #now: SlotProcess | null = null;
  readonly #options: SlotOptions;

  constructor(index: number, options: SlotOptions) {
    this.index = index;
    this.#options = options;
  }

  /** Made anew for each line: a child keeps the level that its parent had, and a reload may change that. */
  get #logger(): Logger {
    return this.#options.logger.child({ worker: this.index });
  }

  get state(): WorkerState {
    return this.#state;
  }

  /** The link of a process that may be sent settings and deltas, draining ones too; null while there is none. */
  get reachableLink(): WorkerLink | null {
    return this.#now?.reachable === true ? this.#now.link : null;
  }

  view(): WorkerView {
    const now = this.#now;
    return {
      index: this.index,
      state: this.#state,
      pid: now?.link.pid ?? null,
      startedAtMs: now?.startedAtWallMs ?? null,
      revision: now?.revision ?? null,
      report: now?.report ?? null,
    };
  }

  /** start forks a process: dead → starting. Does nothing in any other state. */
  start(): void {
    if (this.#state !== 'dead') return;
    const { clock, fork } = this.#options;
    let link: WorkerLink;
    try {
      link = new WorkerLink({ worker: fork(this.index), index: this.index, logger: this.#options.logger });
    } catch (thrown) {
      this.#logger.error({ err: toError(thrown) }, 'worker could not be forked');
      this.#tellDeath({ exit: { code: null, signal: null }, from: 'starting', pid: 0 });
      return;
    }
    const now: SlotProcess = {
      link,
      startedAtMs: clock.monotonicMs(),
      startedAtWallMs: clock.wallMs(),
      reachable: false,
      revision: null,
      report: null,
      heardAtMs: clock.monotonicMs(),
      silenceLogged: false,
      listenFailure: null,
      exitTimer: undefined,
    };
    this.#now = now;
    link.onMessage((message) => this.#received(now, message));
    void link.exited.then((exit) => this.#ended(now, exit));
    this.#enter('starting');
    void this.#bringUp(now);
  }

  /**
   * drain: serving or starting → draining. A process that has not been given its settings yet has no connection: it is killed.
   *
   * @returns resolves when the process is gone: whether it went by itself within deadlineMs (else SIGKILL)
   */
  async drain(message: Extract<PrimaryMessage, { type: 'drain' }>, deadlineMs: number): Promise<boolean> {
    const now = this.#now;
    if (now === null) return true;
    this.#enter('draining');
    if (now.reachable) now.link.send(message);
    else now.link.kill();
    if (await atMost(now.link.exited, deadlineMs)) return true;
    if (now.link.alive) this.#logger.warn({ deadlineMs }, 'worker did not drain in time, killing it');
    now.link.kill();
    await atMost(now.link.exited, KILL_MS);
    return false;
  }

  /** stop ends the process now, whatever it is doing; resolves when it is gone. */
  async stop(): Promise<void> {
    const now = this.#now;
    if (now === null) return;
    this.#enter('draining');
    if (now.reachable) {
      now.link.send({ type: 'stop' });
      if (await atMost(now.link.exited, this.#options.timings.stopMs)) return;
    }
    now.link.kill();
    await atMost(now.link.exited, KILL_MS);
  }

  /** checkSilence looks for a hung loop; the supervisor calls it about once a second with its limits. */
  checkSilence(nowMs: number, { warnMs, killMs }: { warnMs: number; killMs: number }): void {
    const now = this.#now;
    if (now === null || this.#state === 'starting') return;
    const silentMs = Math.round(nowMs - now.heardAtMs);
    if (silentMs >= killMs) {
      this.#logger.error({ silentMs }, 'worker is silent, killing it');
      now.link.kill();
    } else if (silentMs >= warnMs && !now.silenceLogged) {
      now.silenceLogged = true;
      this.#logger.warn({ silentMs }, 'worker is silent');
    }
  }

  /** forgive takes the time that this process itself was stalled off a worker's silence. */
  forgive(stalledMs: number): void {
    if (this.#now !== null) this.#now.heardAtMs += stalledMs;
  }

  /** starting → serving, or the end of a process that did not make it. Never rejects. */
  async #bringUp(now: SlotProcess): Promise<void> {
    const { link } = now;
    const { timings, prepare } = this.#options;
    try {
      const hello = await link.waitFor('hello', timings.helloMs);
      if (hello.protocol !== PROTOCOL_VERSION) {
        throw new LbError(
          'internal_error',
          `worker speaks protocol ${hello.protocol}, not ${PROTOCOL_VERSION}`,
        );
      }
      if (this.#state !== 'starting') return;
      now.reachable = true;
      // Waited for before preparing: a quick worker is ready while `prepare` is still at work.
      const ready = link.waitFor('ready', timings.readyMs);
      // The async function turns an exception of `prepare` into a rejection, so that `ready` is always awaited.
      const prepared = withDeadline((async () => prepare(link))(), timings.readyMs, 'preparing a worker');
      const [{ revision }] = await Promise.all([ready, prepared]);
      now.revision ??= revision;
      now.heardAtMs = this.#options.clock.monotonicMs();
      if (this.#now === now && this.#state === 'starting') this.#enter('serving');
    } catch (thrown) {
      if (!link.alive || this.#state !== 'starting') return;
      this.#logger.error({ err: toError(thrown) }, 'worker did not start, killing it');
      link.kill();
    }
  }

  #received(now: SlotProcess, message: WorkerMessage): void {
    now.heardAtMs = this.#options.clock.monotonicMs();
    now.silenceLogged = false;
    if (message.type === 'report') now.report = message.report;
    else if (message.type === 'applied') now.revision = message.revision;
    else if (message.type === 'draining' && this.#state === 'serving') this.#enter('draining');
    else if (message.type === 'drained') this.#expectExit(now);
    else if (message.type === 'listen-failed') {
      now.listenFailure = message.reason;
      // It has nothing to serve with. Its end tells the supervisor.
      now.link.kill();
    }
    this.#options.onMessage(now.link, message);
  }

  #expectExit(now: SlotProcess): void {
    now.exitTimer ??= setTimeout(() => now.link.kill(), this.#options.timings.exitMs);
  }

  #ended(now: SlotProcess, exit: WorkerExit): void {
    clearTimeout(now.exitTimer);
    const from = this.#state;
    this.#now = null;
    this.#enter('dead');
    this.#tellDeath({ exit, from, pid: now.link.pid }, now);
  }

  #tellDeath(
    { exit, from, pid }: Pick<WorkerDeath, 'exit' | 'from' | 'pid'>,
    now: SlotProcess | null = null,
  ): void {
    const uptimeMs = now === null ? 0 : Math.round(this.#options.clock.monotonicMs() - now.startedAtMs);
    this.#options.onDeath(this, { exit, from, pid, uptimeMs, listenFailure: now?.listenFailure ?? null });
  }

  #enter(state: WorkerState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.onStateChange(this);
  }
}
