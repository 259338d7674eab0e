/**
 * The primary process: starts its parts in the order in which they need each other, and ends them in the opposite order. It never
 * touches a proxied byte.
 *
 * Phases:
 * - starting: the parts are being made. Leads to ready, or to draining by a stop signal.
 * - ready: requests are answered. Leads to draining by a stop signal, or once another primary has taken this one's place.
 * - draining: workers end. Nothing leads out of it but the end of the process.
 */
import { counted } from '../contract/counted.ts';
import { toError } from '../contract/errors.ts';
import { sluiceVersion } from '../infra/build-info.ts';
import { Lifecycle } from '../infra/lifecycle.ts';
import { ProcessLog } from '../infra/logging/process-log.ts';
import type { Phase } from './admin/parts.ts';
import { EventLog } from './events/event-log.ts';
import { sayFailed, sayReady, sayStart } from './primary-lines.ts';
import { type PrimaryOptions, PrimaryParts } from './primary-parts.ts';
import { SystemdNotifier } from './systemd/notifier.ts';

/** startPrimary runs the front door until it is told to stop; called by `sluice serve`. Returns the exit code; never rejects. */
export function startPrimary(options: PrimaryOptions): Promise<number> {
  return new Primary(options).run();
}

class Primary {
  readonly #options: PrimaryOptions;
  readonly #log = new ProcessLog();
  readonly #logger = this.#log.logger;
  readonly #events = new EventLog(this.#logger);
  readonly #lifecycle = new Lifecycle();
  /** Rejects at the first stop signal. */
  readonly #stopping = Promise.withResolvers<never>();
  readonly #drained = Promise.withResolvers<void>();
  /** Resolves when the phase becomes ready. */
  readonly #ready = Promise.withResolvers<void>();
  readonly #notifier: SystemdNotifier;
  readonly #parts: PrimaryParts;
  #phase: Phase = 'starting';

  constructor(options: PrimaryOptions) {
    this.#options = options;
    this.#stopping.promise.catch(() => undefined);
    this.#notifier = new SystemdNotifier(options.env, this.#logger);
    this.#lifecycle.onClose('messages to systemd', () => this.#notifier.close());
    this.#parts = new PrimaryParts(options, {
      log: this.#log,
      events: this.#events,
      lifecycle: this.#lifecycle,
      phase: () => this.#phase,
      stopping: this.#stopping.promise,
      reload: () => this.#reload(),
    });
  }

  /** run starts everything, serves until a stop signal has ended the workers, and closes what was opened. Returns the exit code. */
  async run(): Promise<number> {
    const logger = this.#logger;
    this.#log.attach();
    process.on('uncaughtException', (error) => {
      // The state of this process is unknown now. Workers see the primary go, and serve on for a while.
      logger.fatal({ err: error }, 'uncaught exception in the primary');
      process.exit(1);
    });
    let code = 0;
    try {
      this.#log.configure(this.#options.settings.log);
      await this.#serve();
    } catch (thrown) {
      sayFailed(this.#log, thrown);
      code = 1;
    }
    try {
      await this.#lifecycle.close();
    } catch (error) {
      logger.error({ err: error }, 'closing was not clean');
    }
    return code;
  }

  /** Resolves when a stop signal has ended the workers. Rejects with what made the start fail. */
  async #serve(): Promise<void> {
    this.#options.signals.handle({
      stop: (signal) => void this.#drain(signal),
      stopNow: (signal) => void this.#stopNow(signal),
      reload: () => void this.#reload(),
      reopenLogs: () => {
        this.#log.reopen();
        this.#parts.supervisor?.broadcast({ type: 'reopen-logs' });
        void this.#parts.succession?.passOn('SIGUSR1');
      },
      // During the start it waits, too.
      replaceWorkers: () => void this.#ready.promise.then(() => this.#signalledReplacement()),
    });
    sayStart(this.#logger, this.#parts.dataPath, this.#options);
    this.#record('info', `Sluice ${sluiceVersion()} starts`, { line: null });
    try {
      this.#becomeReady(await this.#parts.start());
    } catch (thrown) {
      if (this.#phase !== 'draining') throw thrown;
      this.#logger.info({ reason: toError(thrown).message }, 'the start was called off');
    }
    await this.#drained.promise;
  }

  #becomeReady(reached: { addresses: string[]; admin: string }): void {
    const { startupSockets, settings, workerCount, dataPath, audit } = this.#parts;
    this.#phase = 'ready';
    // Only then may the old primary end: systemd watches this one.
    void this.#notifier
      .ready(this.#status())
      .then(() => startupSockets?.predecessor?.ready((entries) => audit?.adopt(entries)));
    const isWell = () => this.#phase !== 'ready' || (this.#parts.supervisor?.counts().serving ?? 0) > 0;
    this.#notifier.startWatchdog(isWell);
    sayReady(this.#logger, settings.log, { ...reached, workers: workerCount }, dataPath);
    const { addresses } = reached;
    this.#record('info', `Sluice is ready: ${this.#status()}`, {
      line: null,
      data: { addresses, workerCount },
    });
    this.#ready.resolve();
  }

  /**
   * During the start it waits for the end of the start: the file may have changed since it was read. A primary that takes this one's
   * place reads the file in its stead.
   */
  async #reload(): Promise<void> {
    await this.#ready.promise;
    if (await this.#parts.succession?.passOn('SIGHUP')) return;
    if (this.#phase === 'draining') {
      this.#logger.warn('the reload is left out: this primary stops');
      return;
    }
    this.#notifier.reloading();
    await this.#parts.reloader?.reload();
    this.#notifier.reloaded(this.#status());
  }

  /** For `systemctl status`. */
  #status(): string {
    const { reloader, settings, workerCount } = this.#parts;
    const revision = reloader?.current.number ?? 1;
    const addresses = counted(settings.listen.length, 'address', 'addresses');
    return `serving ${addresses} with ${counted(workerCount, 'worker')}, revision ${revision}`;
  }

  /** Where systemd can be told of another pid, and all sockets can be handed over, this process is replaced too. */
  async #signalledReplacement(): Promise<void> {
    const succession = this.#parts.succession;
    if (!this.#notifier.canNameAnother || !succession?.isPossible) this.#signalledRoll();
    else if ((await succession.replace()) && this.#phase === 'ready') {
      this.#record('info', 'another primary serves: draining');
      this.#phase = 'draining';
      this.#notifier.fallSilent();
      this.#parts.reloader?.close();
      this.#parts.acme?.stopOrders();
      await this.#endWorkers(0, true);
    }
  }

  #record(
    severity: 'info' | 'warning',
    text: string,
    { line, data }: { line?: string | null; data?: Record<string, unknown> } = {},
  ): void {
    this.#events.record(
      { kind: 'instance', severity, text, ...(data && { data }) },
      line === undefined ? {} : { line },
    );
  }

  #signalledRoll(): void {
    if (this.#parts.replaceWorkers() !== null) return;
    const reason = this.#phase === 'draining' ? 'this instance stops' : 'workers are being replaced already';
    this.#logger.warn(`SIGUSR2 is ignored: ${reason}`);
  }

  async #drain(signal: NodeJS.Signals): Promise<void> {
    const { drainGraceMs, drainMs } = this.#parts.settings.timeouts;
    // Nobody has been told of an instance that is not ready: there is nothing to wait for.
    const graceMs = this.#phase === 'ready' ? drainGraceMs : 0;
    this.#phase = 'draining';
    this.#stopping.reject(new Error(`${signal} came before the instance was ready`));
    const data = { signal, drainGraceMs: graceMs, drainMs };
    this.#record('info', `Sluice drains (${signal})`, { line: 'draining', data });
    this.#notifier.stopping();
    this.#parts.succession?.abandon();
    this.#parts.acme?.stopOrders();
    this.#parts.startupSockets?.orphans.drain();
    await this.#endWorkers(graceMs, false);
  }

  /** @param patient another primary serves */
  async #endWorkers(graceMs: number, patient: boolean): Promise<void> {
    const { drainMs } = this.#parts.settings.timeouts;
    const drained = await this.#parts.supervisor?.drain({ graceMs, drainMs, patient });
    if (drained !== undefined && drained.killedCount > 0)
      this.#record('warning', 'workers were killed at the end of the drain', {
        data: { workers: drained.killedCount },
      });
    this.#drained.resolve();
  }

  async #stopNow(signal: NodeJS.Signals): Promise<void> {
    this.#logger.warn({ signal }, 'second signal: stopping at once');
    this.#parts.succession?.abandon();
    await this.#parts.supervisor?.stopNow();
    // Without the clean-up, which may take long: whoever signals twice wants an end.
    process.exit(1);
  }
}
