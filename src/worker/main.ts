/**
 * The worker process, put together. It is told everything by the primary, in this order: backend states, clients, settings;
 * with the first settings it builds its rooms, listens and says ready; later ones swap the plan between two requests.
 */
import { ApiKeyDirectory } from '../clients/api-key-directory.ts';
import { ClientDirectory } from '../clients/client-directory.ts';
import { systemClock } from '../contract/clock.ts';
import { type DataPath, ENGINES, WIRES } from '../contract/data-path.ts';
import { LbError, toError } from '../contract/errors.ts';
import {
  type PrimaryMessage,
  WORKER_COUNT_ENV,
  WORKER_DATA_PATH_ENV,
  WORKER_INDEX_ENV,
  WORKER_INHERITS_ENV,
} from '../contract/messages.ts';
import type { LogSettings } from '../contract/settings.ts';
import { DeadlineWheel } from '../infra/deadline-wheel.ts';
import { ACCESS_LINES, APPLICATION_LINES, LineWriter } from '../infra/logging/line-writer.ts';
import { accessLogOf, attachLog, type Logger, makeLogger } from '../infra/logging/logger.ts';
import { LoopDelayMonitor } from '../infra/loop-delay.ts';
import { WorkerMetrics } from '../infra/metrics.ts';
import { ProcessSignals } from '../infra/process-signals.ts';
import { Availability } from './availability.ts';
import { tuneHeap } from './heap.ts';
import type { DrainTimes } from './inbound/server.ts';
import { PrimaryLink } from './primary-link.ts';
import { WorkerRooms } from './wiring.ts';

const REPORT_EVERY_MS = 1_000;
/** What an uncaught exception leaves to the requests in flight. */
const CRASH_DRAIN_MS = 3_000;

class WorkerMain {
  readonly #signals: ProcessSignals;
  readonly #link: PrimaryLink;
  readonly #metrics = new WorkerMetrics();
  readonly #directory = new ClientDirectory(systemClock);
  readonly #apiKeys = new ApiKeyDirectory(this.#directory);
  readonly #availability = new Availability();
  readonly #lines = {
    application: new LineWriter(APPLICATION_LINES),
    access: new LineWriter(ACCESS_LINES),
  };
  readonly #droppedLines = this.#metrics.series('sluice_application_log_dropped_lines_total');
  readonly #droppedAccessLines = this.#metrics.series('sluice_access_log_dropped_lines_total');
  readonly #loopDelay = new LoopDelayMonitor();
  /** Replaced with the first settings, which say how to log. */
  #logger = this.#openLog({ level: 'info', format: 'json' });
  #rooms: WorkerRooms | null = null;
  /** The primary's last word, which may come before there are rooms. */
  #storeWorkers: number | null = null;
  /** The settings before the ones that come: building the rooms may take a moment. */
  #settled: Promise<void> = Promise.resolve();
  #ending = false;
  #exitCode = 0;

  constructor(signals: ProcessSignals) {
    this.#signals = signals;
    this.#link = new PrimaryLink(
      (message) => this.#receive(message),
      () => this.#onPrimaryLost(),
    );
    this.#link.logger = this.#logger;
    process.on('exit', () => {
      this.#lines.application.flushSync();
      this.#lines.access.flushSync();
    });
  }

  start(): void {
    setInterval(() => {
      this.#report();
      this.#directory.forgetSome();
    }, REPORT_EVERY_MS).unref();
    this.#handleSignals();
    process.on('uncaughtException', (error) => this.#onUncaught(error));
    this.#link.hello();
  }

  #receive(message: PrimaryMessage): void {
    switch (message.type) {
      case 'settings':
        this.#settled = this.#settled
          .then(() => this.#onSettings(message))
          .catch((error: unknown) => this.#cannotServe(error));
        break;
      case 'backends':
        this.#availability.learn(message.states);
        this.#rooms?.applyAvailability();
        break;
      case 'clients':
        this.#onClients(message);
        break;
      case 'api-key-secret':
        this.#apiKeys.useSecret(message.secret);
        break;
      case 'bucket-replies':
        this.#rooms?.onBucketReplies(message);
        break;
      case 'bucket-reset':
        this.#rooms?.resetBuckets(message.keys);
        break;
      case 'fleet':
        this.#rooms?.shareConnections(message.meanConnections);
        break;
      case 'store-workers':
        this.#storeWorkers = message.count;
        this.#rooms?.shareStore(message.count);
        break;
      case 'drain':
        this.#drain(message);
        break;
      case 'stop':
        this.#stop();
    }
  }

  async #onSettings(message: Extract<PrimaryMessage, { type: 'settings' }>): Promise<void> {
    const { revision } = message;
    if (this.#rooms !== null) {
      this.#rooms.applySettings(message);
      this.#link.send({ type: 'applied', revision });
      return;
    }
    const { log } = message.settings;
    const logger = this.#openLog(log);
    this.#logger = logger;
    this.#link.logger = logger;
    const wheel = new DeadlineWheel({
      clock: systemClock,
      onError: (error) => logger.error({ err: toError(error) }, 'a deadline failed'),
    });
    wheel.start();
    const rooms = await WorkerRooms.open(message, {
      logger,
      wheel,
      clock: systemClock,
      metrics: this.#metrics,
      lookup: this.#directory,
      apiKeys: this.#apiKeys,
      accessLog: accessLogOf(log.format, this.#lines.access),
      availability: this.#availability,
      workerIndex: Number(process.env[WORKER_INDEX_ENV]),
      workerCount: Number(process.env[WORKER_COUNT_ENV]),
      dataPath: readDataPath(process.env[WORKER_DATA_PATH_ENV]),
      inheritsSockets: process.env[WORKER_INHERITS_ENV] === '1',
      send: (toPrimary) => this.#link.send(toPrimary),
    });
    if (this.#storeWorkers !== null) rooms.shareStore(this.#storeWorkers);
    this.#rooms = rooms;
    // Not waited for: a newer revision may come meanwhile.
    this.#listen(rooms, revision).catch((error: unknown) => this.#cannotServe(error));
  }

  #openLog(settings: Pick<LogSettings, 'level' | 'format'>): Logger {
    const fields = { worker: Number(process.env[WORKER_INDEX_ENV]) };
    const logger = makeLogger(settings, { fields, out: this.#lines.application });
    attachLog(logger, this.#lines);
    return logger;
  }

  async #listen(rooms: WorkerRooms, revision: number): Promise<void> {
    const addresses = await rooms.listen();
    if (!this.#ending) this.#link.send({ type: 'ready', addresses, revision });
  }

  #onClients(message: Extract<PrimaryMessage, { type: 'clients' }>): void {
    const { part } = message;
    if (!this.#directory.apply(message)) this.#rooms?.logger.error({ part }, 'clients that cannot be read');
    this.#link.send({ type: 'clients-applied', part });
  }

  /** The supervisor ends a worker that says so, and decides whether to try again. */
  #cannotServe(thrown: unknown): void {
    const error = toError(thrown);
    if (error instanceof LbError && error.code === 'listen_failed') {
      const { systemCode, address } = describeListenFailure(error);
      this.#link.send({
        type: 'listen-failed',
        code: systemCode,
        address,
        detail: toError(error.cause).message,
      });
      return;
    }
    this.#logger.fatal({ err: error }, 'worker cannot serve');
    process.exit(1);
  }

  #report(): void {
    const rooms = this.#rooms;
    if (rooms === null) return;
    // Of moments, not of turns: a stall of 150 ms is one turn in thousands, and one event in seven of that second waits for it.
    const loopDelayP99Ms = this.#loopDelay.takeMaxMs();
    this.#metrics.set(this.#droppedLines, this.#lines.application.droppedCount);
    this.#metrics.set(this.#droppedAccessLines, this.#lines.access.droppedCount);
    this.#link.send({
      type: 'report',
      report: { ...rooms.report(), loopDelayP99Ms, metrics: this.#metrics.takeDelta() },
    });
  }

  #drain({ graceMs, drainMs, alone = false }: DrainTimes): void {
    if (this.#ending) {
      this.#rooms?.stopListening(graceMs);
      return;
    }
    this.#ending = true;
    this.#link.send({ type: 'draining' });
    const rooms = this.#rooms;
    const drained = rooms === null ? Promise.resolve() : rooms.drain({ graceMs, drainMs, alone });
    drained
      .catch((error: unknown) => rooms?.logger.error({ err: toError(error) }, 'the drain was not clean'))
      .finally(() => this.#leave());
  }

  /** The last words: counters, then the exit that the primary waits for, which writes the last lines. */
  #leave(): void {
    this.#report();
    this.#link.sendLast({ type: 'drained' }, () => process.exit(this.#exitCode));
  }

  /** Ends at once; requests in flight still get their access lines. */
  #stop(): void {
    this.#rooms?.cut();
    process.exit(1);
  }

  /** Nobody will replace this worker or tell it anything: finish what is in flight and go. */
  #onPrimaryLost(): void {
    this.#logger.error('the primary is gone: finishing what is in flight');
    this.#drain({ graceMs: 0, drainMs: this.#rooms?.settings.timeouts.drainMs ?? 0 });
  }

  /**
   * A terminal sends its signals to every process of the group, a service manager perhaps to one: a stop signal means the drain
   * that the primary would order, and its order finds it begun. The other signals are for the primary.
   */
  #handleSignals(): void {
    const leaveToPrimary = (): void => this.#logger.debug('a signal for the primary');
    this.#signals.handle({
      stop: () => {
        const settings = this.#rooms?.settings;
        const { drainGraceMs: graceMs = 0, drainMs = 0 } = settings?.timeouts ?? {};
        // Until this worker is replaced, connections that it does not accept wait.
        const alone = settings?.accept === 'reuse_port' || process.env[WORKER_COUNT_ENV] === '1';
        this.#drain({ graceMs, drainMs, alone });
      },
      stopNow: () => this.#stop(),
      reload: leaveToPrimary,
      ignore: leaveToPrimary,
    });
  }

  #onUncaught(error: Error): void {
    const rooms = this.#rooms;
    if (rooms === null || this.#ending) {
      this.#logger.fatal({ err: error }, 'uncaught exception in a worker that is not serving');
      process.exit(1);
      return;
    }
    rooms.logger.fatal({ err: error }, 'uncaught exception: finishing what is in flight');
    this.#exitCode = 1;
    this.#drain({ graceMs: 0, drainMs: CRASH_DRAIN_MS });
  }
}

/** What the primary has decided; it says so in the environment. */
function readDataPath(text = ''): DataPath {
  const path = JSON.parse(text) as Partial<DataPath>;
  const engine = ENGINES.find((name) => name === path.engine);
  const wire = WIRES.find((name) => name === path.wire);
  if (engine === undefined || wire === undefined) throw new Error(`no data path: ${text}`);
  return { engine, wire };
}

function describeListenFailure(error: LbError): { systemCode: string; address: string } {
  const cause: unknown = error.cause;
  const facts = typeof cause === 'object' && cause !== null ? (cause as Record<string, unknown>) : {};
  const systemCode = typeof facts.code === 'string' ? facts.code : 'unknown';
  return { systemCode, address: String(facts.place) };
}

if (import.meta.main) {
  const signals = new ProcessSignals();
  tuneHeap();
  new WorkerMain(signals).start();
}
