/**
 * A primary that is replaced by another one, without a refused connection: both sides of it. The old one starts the new one with the same
 * command line, folder and environment, and with its listening sockets. The new one, in this order:
 *
 * 1. loads code and configuration, and asks for what only one process can have (`take-over`): the embedded database, the admin port;
 * 2. once that is `released`, starts as always, and says `ready`. The old one then drains its workers and ends.
 *
 * A new one that ends, or is not ready in time, changes nothing: the old one takes back what it has released.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { LbError, toError } from '../contract/errors.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { atMost, withDeadline } from '../infra/with-deadline.ts';
import type { AdminPort } from './admin/admin-port.ts';
import type { AuditEntry } from './audit/audit-table.ts';
import type { AuditWriter } from './audit/audit-writer.ts';
import type { HealthFile } from './health/health-file.ts';
import type { Storage } from './storage.ts';
import { PASSED_SOCKETS } from './systemd/activation.ts';
import type { ListenSockets } from './workers/listen-sockets.ts';

const REPLACES = 'SLUICE_REPLACES';
/** A start waits for workers for a minute at most (WORKER_TIMINGS.startMs), and for clients and probes. */
const READY_MS = 90_000;
/** The embedded database and the admin port close within some 12 s. */
const RELEASE_MS = 20_000;
/** One that is given up has this long to end its workers. */
const END_MS = 10_000;
const PASS_MS = 1_000;
/** Before each attempt to open the admin port again: another socket may have its port for a moment. */
const REOPEN_PAUSES_MS = [0, 1_000, 2_000, 4_000, 8_000, 16_000];

interface SuccessionOptions {
  sockets: ListenSockets;
  /** The two things that only one primary can have: the database, where it is the embedded one, and the admin port. */
  storage: Storage;
  admin: AdminPort;
  /** One primary at a time writes it. */
  health: HealthFile;
  /** Writes to the database before that is given away. */
  audit: Pick<AuditWriter, 'flush'>;
  /** The number of the revision in force. */
  revision: () => number;
  logger: Logger;
}

/** Succession is how the old primary lets itself be replaced; made by its main. */
export class Succession {
  readonly #options: SuccessionOptions;
  #successor: ChildProcess | null = null;
  /** The one that has taken over. */
  #heir: ChildProcess | null = null;
  /** Whether the new one serves in the end; null: none starts. */
  #outcome: Promise<boolean> | null = null;
  /** Signals that came too late for what the new one has read and opened. */
  readonly #missed = new Set<NodeJS.Signals>();
  #released: Promise<void> | null = null;
  /** Whether this primary stops or has been replaced: then it takes nothing back. */
  #abandoned = false;

  constructor(options: SuccessionOptions) {
    this.#options = options;
  }

  /** Whether all listening sockets can be handed over. */
  get isPossible(): boolean {
    return this.#options.sockets.fds() !== null;
  }

  /** replace resolves with whether a new primary serves; never rejects. If not, everything is as before. */
  async replace(): Promise<boolean> {
    if (this.#outcome !== null || this.#abandoned) {
      this.#options.logger.warn('SIGUSR2 is ignored: this primary is being replaced already, or stops');
      return false;
    }
    this.#missed.clear();
    this.#outcome = this.#replaceOnce();
    const isReplaced = await this.#outcome;
    this.#outcome = null;
    return isReplaced;
  }

  /**
   * passOn waits for the end of a replacement that is under way, and sends the new primary the signal: it may have read the configuration,
   * or opened the log, before. @returns whether it did
   */
  async passOn(signal: NodeJS.Signals): Promise<boolean> {
    this.#missed.add(signal);
    return (await this.#outcome) ?? false;
  }

  async #replaceOnce(): Promise<boolean> {
    const { logger, revision } = this.#options;
    const revisionBefore = revision();
    try {
      const successor = this.#spawn();
      await withDeadline(this.#untilReady(successor), READY_MS, 'the start of the new primary');
      // It is the primary from now on: the end of this one must not end it.
      this.#successor = null;
      this.#heir = successor;
      this.#abandoned = true;
      // The admin port has reloaded meanwhile, and the successor has read an older file.
      if (revision() !== revisionBefore) this.#missed.add('SIGHUP');
      for (const signal of this.#missed) successor.kill(signal);
      return true;
    } catch (thrown) {
      if (!this.#abandoned)
        logger.error({ err: toError(thrown) }, 'the new primary does not serve; this one goes on');
      await this.#takeBack();
      return false;
    }
  }

  /** passEvents gives the one that has taken over what this primary could not write any more. @returns whether it was sent */
  async passEvents(entries: readonly AuditEntry[]): Promise<boolean> {
    const heir = this.#heir;
    if (heir?.connected !== true) return false;
    const sent = new Promise<boolean>((resolve) =>
      heir.send({ entries }, (error) => resolve(error === null)),
    );
    return (await atMost(sent, PASS_MS)) && sent;
  }

  /** abandon is called when this primary stops: a new one that is not ready yet is told to stop, too, and ends its own workers. */
  abandon(): void {
    this.#abandoned = true;
    this.#successor?.kill('SIGTERM');
  }

  #spawn(): ChildProcess {
    const { sockets, logger } = this.#options;
    const fds = sockets.fds() ?? [];
    // The watchdog's variable names the pid of this process.
    const { WATCHDOG_PID: _, ...env } = process.env;
    const successor = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      stdio: ['inherit', 'inherit', 'inherit', 'ipc', ...fds],
      env: { ...env, [REPLACES]: String(process.pid), [PASSED_SOCKETS]: String(fds.length) },
    });
    logger.info({ successor: successor.pid }, 'starting the primary that replaces this one');
    this.#successor = successor;
    return successor;
  }

  async #kill(): Promise<void> {
    const successor = this.#successor;
    if (successor?.pid === undefined || successor.exitCode !== null || successor.signalCode !== null) return;
    const ended = once(successor, 'exit');
    // It ends its own workers, which a killed one would leave behind.
    successor.kill('SIGTERM');
    if (await atMost(ended, END_MS)) return;
    successor.kill('SIGKILL');
    await ended;
  }

  async #takeBack(): Promise<void> {
    const { storage, admin, health } = this.#options;
    await this.#kill();
    const released = this.#released;
    this.#successor = null;
    this.#released = null;
    if (released === null) return;
    // A release that still runs would give away again what is taken back now.
    await this.#attempt('give everything away', () => released);
    if (this.#abandoned) return;
    health.takeBack();
    await this.#attempt('take the database back', () => storage.takeBack());
    for (const pauseMs of REOPEN_PAUSES_MS) {
      await sleep(pauseMs);
      if (this.#abandoned || (await this.#attempt('open the admin port again', () => admin.open()))) return;
    }
  }

  /** @returns whether the step succeeded: one that fails keeps none from the next. @param what for the log, after "cannot" */
  async #attempt(what: string, step: () => unknown): Promise<boolean> {
    try {
      await step();
      return true;
    } catch (thrown) {
      this.#options.logger.error({ err: toError(thrown) }, `cannot ${what}`);
      return false;
    }
  }

  async #release(): Promise<void> {
    const { admin, health, audit, storage } = this.#options;
    await admin.close();
    await health.lend();
    await audit.flush();
    await storage.lend();
  }

  #untilReady(successor: ChildProcess): Promise<void> {
    return new Promise((resolve, reject) => {
      successor.on('error', reject);
      successor.on('exit', (code, signal) =>
        reject(new LbError('internal_error', `the new primary ended (code ${code}, signal ${signal})`)),
      );
      successor.on('message', (message) => {
        if (message === 'ready') resolve();
        if (message !== 'take-over' || this.#released !== null) return;
        this.#released = this.#release();
        this.#released.then(() => successor.send('released'), reject);
      });
    });
  }
}

function ignoreLoss(): void {
  // The end of the channel is heard by its `disconnect`.
}

/** Predecessor is the old primary as the new one sees it; null where there is none. */
export class Predecessor {
  static of(env: NodeJS.ProcessEnv): Predecessor | null {
    const replaces = env[REPLACES];
    delete env[REPLACES];
    return replaces === undefined || process.send === undefined ? null : new Predecessor();
  }

  /** takeOver resolves once the embedded database and the admin port are free, or the old primary has died. Rejects when the old primary does not give them up. */
  async takeOver(): Promise<void> {
    // What it had is free once it has died, and its workers wait for this process as for any next primary.
    if (!process.connected) return;
    const released = Promise.race([once(process, 'message'), once(process, 'disconnect')]);
    process.send?.('take-over', undefined, undefined, ignoreLoss);
    await withDeadline(released, RELEASE_MS, 'taking over from the old primary');
  }

  /** ready lets the old primary go. The channel closes with its end. @param onEvents gets what it could not write until then */
  ready(onEvents: (entries: AuditEntry[]) => void): void {
    if (!process.connected) return;
    process.on('message', (message: { entries: AuditEntry[] }) => onEvents(message.entries));
    process.channel?.unref();
    process.send?.('ready', undefined, undefined, ignoreLoss);
  }
}
