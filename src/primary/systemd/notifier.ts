/**
 * Tells systemd how the service is (sd_notify(3)), and feeds its watchdog. Node cannot send datagrams to a Unix socket, so systemd's own
 * program `systemd-notify` does: 8 ms of CPU for each message. Without NOTIFY_SOCKET nothing is told.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { systemCodeOf, toError } from '../../contract/errors.ts';
import type { Logger } from '../../infra/logging/logger.ts';

const PROGRAM = 'systemd-notify';
/** It waits for systemd to have read the message. */
const SEND_MS = 5_000;
const US_PER_MS = 1_000;
const NS_PER_US = 1_000n;

export class SystemdNotifier {
  readonly #logger: Logger;
  readonly #pid: number;
  #isUsed: boolean;
  /** null: no watchdog. */
  readonly #watchdogMs: number | null;
  /** One message after the other. */
  #sent: Promise<void> = Promise.resolve();
  #watchdog: NodeJS.Timeout | undefined;
  /** Whether a ping waits: systemd is slow, and needs no second one. */
  #pinging = false;

  /** @param env that of the process @param pid of this process */
  constructor(env: NodeJS.ProcessEnv, logger: Logger, pid: number = process.pid) {
    this.#logger = logger;
    this.#pid = pid;
    this.#isUsed = Boolean(env.NOTIFY_SOCKET);
    const isOurs = env.WATCHDOG_PID === undefined || env.WATCHDOG_PID === String(pid);
    const watchdogMs = Number(env.WATCHDOG_USEC) / US_PER_MS;
    this.#watchdogMs = this.#isUsed && isOurs && watchdogMs > 0 ? watchdogMs : null;
  }

  /** ready: the start is over. The pid tells systemd whom to watch: a primary may have replaced another one. Never rejects. */
  ready(status: string): Promise<void> {
    return this.#send('READY=1', `MAINPID=${this.#pid}`, `STATUS=${status}`);
  }

  /**
   * Whether another process can take the place of this one: systemd can be told of it, and this is not the first process of a container,
   * with which all others end.
   */
  get canNameAnother(): boolean {
    return this.#isUsed && this.#pid !== 1;
  }

  /** reloading: `reloaded` follows. */
  reloading(): void {
    void this.#send(
      'RELOADING=1',
      `MONOTONIC_USEC=${process.hrtime.bigint() / NS_PER_US}`,
      'STATUS=reloading',
    );
  }

  /** reloaded: a reload is over. Without the pid: another primary may have told systemd its own while it was under way. */
  reloaded(status: string): void {
    void this.#send('READY=1', `STATUS=${status}`);
  }

  stopping(): void {
    void this.#send('STOPPING=1', 'STATUS=draining');
  }

  /**
   * startWatchdog pings at half the time that systemd allows, as long as the event loop turns and `isWell` says so. When the pings
   * stop, systemd ends this process and starts another.
   */
  startWatchdog(isWell: () => boolean): void {
    if (this.#watchdogMs === null) return;
    const ping = (): void => {
      if (this.#pinging || !isWell()) return;
      this.#pinging = true;
      void this.#send('WATCHDOG=1').finally(() => {
        this.#pinging = false;
      });
    };
    this.#watchdog = setInterval(ping, this.#watchdogMs / 2);
    ping();
  }

  /** fallSilent: another primary speaks for the service from now on. */
  fallSilent(): void {
    this.#isUsed = false;
    clearInterval(this.#watchdog);
  }

  /** close waits for the last message. */
  async close(): Promise<void> {
    clearInterval(this.#watchdog);
    await this.#sent;
  }

  #send(...assignments: string[]): Promise<void> {
    if (!this.#isUsed) return this.#sent;
    this.#sent = this.#sent.then(async () => {
      try {
        await promisify(execFile)(PROGRAM, assignments, { timeout: SEND_MS });
      } catch (thrown) {
        const hint = systemCodeOf(thrown) === 'ENOENT' ? ` (${PROGRAM} is not installed)` : '';
        this.#logger.warn({ err: toError(thrown), assignments }, `systemd cannot be told${hint}`);
      }
    });
    return this.#sent;
  }
}
