/**
 * The worker process. The primary tells it everything over IPC. Clients and API keys come first, then the settings and the states
 * of the backends; where the database is slow or away, the settings come without clients. The worker's own states, in this order:
 *
 * waiting   no settings yet. The first settings end it.
 * opening   the data plane is built and begins to listen, within a second or so; later settings wait. `ready` or an exit ends it.
 * serving   later settings replace the plan between two requests. #drain ends it: an order of the primary, a stop signal, or an
 *           uncaught exception. If the primary dies, the worker serves on as an orphan (orphan.ts), for a while or until there is a
 *           new primary; then #drain.
 * draining  #ending is true. #leave ends it once all requests are over, or #stop, which cuts those in flight.
 */
import type { Socket } from 'node:net';
import { ClientDirectory } from '../clients/client-directory.ts';
import { systemClock } from '../contract/clock.ts';
import { LbError, toError } from '../contract/errors.ts';
import {
  type PrimaryMessage,
  WORKER_PLACE,
  type WorkerMessage,
  type WorkerPlace,
} from '../contract/messages.ts';
import { listenKeys } from '../contract/orphans.ts';
import type { TlsMaterial } from '../contract/tls.ts';
import { DeadlineTimer } from '../infra/deadline-timer.ts';
import { socketOf } from '../infra/listeners.ts';
import { type LogOutput, ProcessLog } from '../infra/logging/process-log.ts';
import { ProcessSignals } from '../infra/process-signals.ts';
import { PROTOCOL_VERSION } from '../infra/protocol-version.ts';
import { WorkerMetrics } from '../infra/worker-metrics.ts';
import { AccessLines } from './access-lines.ts';
import { DataPlane } from './data-plane.ts';
import { tuneHeap } from './heap.ts';
import type { DrainTimes } from './inbound/drain.ts';
import { LoopWatch } from './loop-watch.ts';
import { waitForSuccessor } from './orphan.ts';
import { PrimaryLink } from './primary-link.ts';
import { Reporter } from './reporter.ts';

const REPORT_EVERY_MS = 1_000;
/** Time for the requests in flight after an uncaught exception. */
const CRASH_DRAIN_MS = 3_000;
/** While it accepts nothing: the one to go on with, and a spare one. */
const HELD_SOCKETS_MAX = 2;
/** How long the last messages wait for a primary that does not read. */
const LEAVE_MS = 5_000;

type Question = Extract<PrimaryMessage, { type: 'list-tunnels' | 'explain' | 'list-top' | 'list-seen' }>;

class WorkerMain {
  readonly #place = placeOf(process.env[WORKER_PLACE]);
  readonly #metrics = new WorkerMetrics();
  readonly #directory = new ClientDirectory(systemClock);
  readonly #accessLines = new AccessLines();
  readonly #log = new ProcessLog({
    fields: { worker: this.#place.workerIndex },
    access: this.#accessLines.writer,
  });
  readonly #logger = this.#log.logger;
  readonly #link = new PrimaryLink(this.#logger, (message, socket) => this.#receive(message, socket));
  readonly #timer = new DeadlineTimer({
    clock: systemClock,
    onError: (error) => this.#logger.error({ err: toError(error) }, 'a deadline failed'),
  });
  readonly #reporter = new Reporter({
    ...{ metrics: this.#metrics, log: this.#log, accessLines: this.#accessLines.writer, link: this.#link },
    dataPlane: () => this.#dataPlane,
  });
  /** Key authorizations by token, for the whole life of the process. */
  readonly #challenges = new Map<string, string>();
  /** Bound sockets at which it does not listen yet, and a spare one of each at which it does, by the key of their address. */
  readonly #sockets = new Map(
    Object.entries(this.#place.listenFds).map(([key, fd]) => [key, [socketOf({ fd })]]),
  );
  #logOutput = this.#place.log;
  #loopWatch: LoopWatch | null = null;
  #dataPlane: DataPlane | null = null;
  /** null where no address has TLS. */
  #tls: TlsMaterial | null = null;
  /** Resolves once all earlier steps are done: settings, and what must not overtake them (#next). */
  #settled = Promise.resolve();
  #ending = false;
  #exitCode = 0;

  /** start says hello to the primary. @param signals made first of all, so that no early signal ends the process */
  start(signals: ProcessSignals): void {
    this.#log.attach();
    this.#configureLog(this.#place.log);
    process.once('disconnect', () => void this.#onPrimaryLost());
    process.on('uncaughtException', (error) => this.#onUncaught(error));
    setInterval(() => {
      this.#reporter.report();
      this.#directory.advance();
    }, REPORT_EVERY_MS).unref();
    this.#handleSignals(signals);
    this.#link.send({ type: 'hello', protocol: PROTOCOL_VERSION, pid: process.pid });
  }

  #receive(message: PrimaryMessage, socket: Socket | null): void {
    switch (message.type) {
      case 'settings':
        this.#next(() => this.#onSettings(message));
        break;
      case 'backends':
      case 'store-workers':
        // Queued behind settings that may still open the data plane. Before the first settings it is dropped: they bring the same.
        this.#next(() => this.#dataPlane?.receive(message, null));
        break;
      case 'clients':
        this.#onClients(message);
        break;
      case 'api-key-secret':
        this.#directory.useSecret(message.secret);
        break;
      case 'tls':
        // Behind settings that may still open the data plane.
        this.#next(() => {
          this.#tls = message;
          this.#dataPlane?.useTls(message);
        });
        break;
      case 'listen-socket':
        // Behind settings that may still close an earlier one.
        this.#next(() => {
          if (this.#ending) socket?.destroy();
          else if (socket !== null) this.#keepSocket(message.address, socket);
        });
        break;
      case 'acme-challenges': {
        const { version, challenges } = message;
        this.#challenges.clear();
        for (const { token, keyAuthorization } of challenges) this.#challenges.set(token, keyAuthorization);
        this.#link.send({ type: 'acme-challenges-applied', version });
        break;
      }
      case 'list-tunnels':
      case 'explain':
      case 'list-top':
      case 'list-seen':
        this.#answer(message);
        break;
      case 'watch-loop':
        this.#loopWatch ??= new LoopWatch(this.#place.workerIndex, this.#logOutput, this.#logger);
        break;
      case 'log-level':
        // Behind settings, which have a level of their own.
        this.#next(() => this.#configureLog({ ...this.#logOutput, level: message.level }));
        break;
      case 'reopen-logs':
        this.#log.reopen();
        break;
      case 'drain':
        this.#drain(message);
        break;
      case 'stop':
        this.#stop();
        break;
      default:
        this.#dataPlane?.receive(message, socket);
    }
  }

  /** Questions of the admin port, also before there is a data plane. */
  #answer(message: Question): void {
    switch (message.type) {
      case 'list-tunnels': {
        const page = this.#dataPlane?.tunnels(message) ?? { items: [], more: false };
        this.#link.send({ type: 'tunnels', id: message.id, ...page });
        break;
      }
      case 'explain': {
        const explanation = this.#dataPlane?.explain(message) ?? null;
        this.#link.send({ type: 'explained', id: message.id, explanation });
        break;
      }
      case 'list-top': {
        const part = this.#dataPlane?.topCallers(message.by) ?? { items: [], totalPerSec: 0, errorPerSec: 0 };
        this.#link.send({ type: 'top-callers', id: message.id, ...part });
        break;
      }
      case 'list-seen': {
        const { id, clientIds } = message;
        this.#link.send({ type: 'seen-clients', id, seenSecs: this.#directory.seenSecs(clientIds) });
        break;
      }
    }
  }

  #keepSocket(address: string, socket: Socket): void {
    const held = this.#sockets.get(address) ?? [];
    if (held.length < HELD_SOCKETS_MAX) this.#sockets.set(address, [...held, socket]);
    else socket.destroy();
  }

  /** Runs a step behind the earlier ones. */
  #next(step: () => void | Promise<void>): void {
    this.#settled = this.#settled.then(step).catch((error: unknown) => this.#cannotServe(error));
  }

  async #onSettings(message: Extract<PrimaryMessage, { type: 'settings' }>): Promise<void> {
    const { revision } = message;
    this.#configureLog(message.settings.log);
    if (this.#dataPlane !== null) {
      await this.#dataPlane.applySettings(message);
      this.#link.send({ type: 'applied', revision });
      return;
    }
    // SIGUSR1 may have come before messages could reach this process.
    this.#log.reopen();
    this.#timer.start();
    const dataPlane = await DataPlane.open(message, {
      ...this.#place,
      sockets: this.#sockets,
      logger: this.#logger,
      timer: this.#timer,
      metrics: this.#metrics,
      lookup: this.#directory,
      challenges: this.#challenges,
      tls: this.#tls,
      accessLog: this.#accessLines,
      send: (toPrimary, onLeft) => this.#link.send(toPrimary, onLeft),
    });
    this.#dataPlane = dataPlane;
    // Not awaited: a newer revision may come meanwhile.
    dataPlane
      .listen()
      .then(() => {
        // First, so that a scrape after the ready line finds every series.
        this.#reporter.report();
        if (!this.#ending) this.#link.send({ type: 'ready', revision });
      })
      .catch((error: unknown) => this.#cannotServe(error));
  }

  #onClients(message: Extract<PrimaryMessage, { type: 'clients' }>): void {
    const { part } = message;
    if (!this.#directory.apply(message))
      this.#logger.error({ part }, 'clients cannot be read and are ignored');
    this.#link.send({ type: 'clients-applied', part });
  }

  #configureLog(output: LogOutput): void {
    this.#log.useIfPossible(output);
    this.#accessLines.useForm(this.#log);
    this.#logOutput = output;
    this.#loopWatch?.useLog(output);
  }

  /** The supervisor ends a worker that cannot listen, and may start another one. */
  #cannotServe(thrown: unknown): void {
    const error = toError(thrown);
    if (error instanceof LbError && error.code === 'listen_failed')
      this.#link.send({ type: 'listen-failed', reason: error.message });
    else this.#onUncaught(error);
  }

  #drain({ graceMs, drainMs, alone = false, patient = false }: DrainTimes): void {
    if (this.#ending) {
      if (!patient) this.#dataPlane?.hurry(graceMs);
      return;
    }
    this.#ending = true;
    this.#link.send({ type: 'draining' });
    const drained = this.#dataPlane?.drain({ graceMs, drainMs, alone, patient }) ?? Promise.resolve();
    drained
      .catch((error: unknown) => this.#logger.error({ err: toError(error) }, 'the drain was not clean'))
      .finally(() => this.#leave());
  }

  /** Sends the last counters and exits; at the exit the last log lines are written. */
  #leave(): void {
    this.#reporter.send();
    const exit = (): never => process.exit(this.#exitCode);
    setTimeout(exit, LEAVE_MS);
    this.#link.send({ type: 'drained' }, exit);
  }

  /** Ends at once; requests in flight still get their access lines. */
  #stop(): void {
    this.#dataPlane?.cut();
    process.exit(1);
  }

  /** Nobody will replace this worker. */
  async #onPrimaryLost(): Promise<void> {
    this.#dataPlane?.receive({ type: 'no-more-connections' }, null);
    this.#dataPlane?.live.stop();
    const isRelieved = !this.#ending && (await this.#serveOn());
    this.#logger.error('the primary is gone: finishing what is in flight');
    const { drainMs = 0 } = this.#dataPlane?.settings.timeouts ?? {};
    this.#drain({ graceMs: 0, drainMs, patient: isRelieved });
  }

  /** Resolves when a new primary needs this worker no more, or when the time without one is over. @returns whether there is a new one */
  async #serveOn(): Promise<boolean> {
    const { orphanFolder: folder } = this.#place;
    // A reload may be at work, which closes sockets that are listed below.
    await this.#settled;
    const settings = this.#dataPlane?.settings;
    if (settings === undefined || folder === null || settings.primary.graceWithoutMs === 0) return false;
    const { graceWithoutMs: graceMs } = settings.primary;
    // Its sockets must be the same as long as they may be given away.
    await this.#dataPlane?.listening.keepAccepting();
    this.#logger.error({ graceMs }, 'the primary is gone: serving on until there is another one');
    const fds = this.#dataPlane?.listening.listenFds() ?? [];
    const keys = listenKeys(settings.listen);
    const note = { keys, socketCount: fds.length, drainMs: settings.timeouts.drainMs };
    const isRelieved = await waitForSuccessor({ folder, note, fds, graceMs, logger: this.#logger });
    if (isRelieved) this.#logger.info('a new primary has taken over');
    return isRelieved;
  }

  /** A stop signal begins the drain that the primary would order: a terminal sends it to all processes. Others are the primary's. */
  #handleSignals(signals: ProcessSignals): void {
    const leaveToPrimary = (): void => this.#logger.debug('signal ignored: the primary handles it');
    signals.handle({
      stop: () => {
        const settings = this.#dataPlane?.settings;
        const { drainGraceMs: graceMs = 0, drainMs = 0 } = settings?.timeouts ?? {};
        // Then nobody else accepts from its sockets until it is replaced.
        const alone = settings?.accept === 'reuse_port' || settings?.workers === 1;
        this.#drain({ graceMs, drainMs, alone });
      },
      stopNow: () => this.#stop(),
      reload: leaveToPrimary,
      reopenLogs: leaveToPrimary,
      replaceWorkers: leaveToPrimary,
    });
  }

  #onUncaught(error: Error): void {
    if (this.#dataPlane === null || this.#ending) {
      this.#logger.fatal({ err: error }, 'uncaught exception in a worker that is not serving');
      process.exit(1);
    }
    this.#logger.fatal({ err: error }, 'uncaught exception: finishing what is in flight');
    this.#exitCode = 1;
    this.#drain({ graceMs: 0, drainMs: CRASH_DRAIN_MS });
  }
}

/** Ends a process whose files were replaced while its primary ran: it cannot know what that primary means, but says its version. */
function placeOf(text = '{}'): WorkerPlace {
  const place: WorkerPlace = JSON.parse(text);
  if (place.protocol === PROTOCOL_VERSION) return place;
  const hello: WorkerMessage = { type: 'hello', protocol: PROTOCOL_VERSION, pid: process.pid };
  process.send?.(hello);
  process.stderr.write("this worker's files are of another version than its primary: restart Sluice\n");
  process.exit(1);
}

if (import.meta.main) {
  const signals = new ProcessSignals();
  tuneHeap();
  new WorkerMain().start(signals);
}
