/**
 * The primary process: starts its parts in the order in which they need each other, and ends them in the opposite order. It never
 * touches a proxied byte.
 *
 * Phases:
 * - starting: #start() is at work. Leads to ready, or to draining by a stop signal.
 * - ready: requests are answered. Leads to draining by a stop signal, or once another primary has taken this one's place.
 * - draining: workers end. Nothing leads out of it but the end of the process.
 */
import type { Problem } from '../config/problems.ts';
import { systemClock } from '../contract/clock.ts';
import type { DataPath } from '../contract/data-path.ts';
import { LbError, toError } from '../contract/errors.ts';
import type { ProbeResult } from '../contract/health.ts';
import type { PrimaryMessage } from '../contract/messages.ts';
import type { Settings } from '../contract/settings.ts';
import { sluiceVersion } from '../infra/build-info.ts';
import { Lifecycle } from '../infra/lifecycle.ts';
import { APPLICATION_LINES, LineWriter } from '../infra/logging/line-writer.ts';
import { boundedLine } from '../infra/logging/logger.ts';
import { ProcessLog } from '../infra/logging/process-log.ts';
import type { Database } from '../infra/postgres/postgres.ts';
import type { ProcessSignals } from '../infra/process-signals.ts';
import { chooseDataPath, slowReason } from '../infra/wire/wire-choice.ts';
import { MemoryBucketStore } from '../limit/store/memory-bucket-store.ts';
import { AcmeService } from './acme/acme-service.ts';
import { AdminPort } from './admin/admin-port.ts';
import type { Phase } from './admin/parts.ts';
import { OperatorBuckets } from './buckets/operator-buckets.ts';
import { PrimaryDirectory } from './clients/primary-directory.ts';
import { dataPath as pathInData } from './data-folder.ts';
import { Ejections } from './health/ejections.ts';
import { HealthChecker } from './health/health-checker.ts';
import { HealthFile } from './health/health-file.ts';
import { HealthRegistry } from './health/health-registry.ts';
import { resultLabel, tellHealth } from './health/health-telling.ts';
import { InstanceHeartbeat } from './instance-heartbeat.ts';
import { PrimaryGauges } from './metrics/gauges.ts';
import { MetricsCollector } from './metrics/metrics-collector.ts';
import { logWarnings, Reloader } from './reloader.ts';
import { openStorage } from './storage.ts';
import { type Predecessor, Succession } from './succession.ts';
import { SystemdNotifier } from './systemd/notifier.ts';
import { warnOfPoolsDaily } from './tls/pool-certificates.ts';
import { TlsKeeper } from './tls/tls-keeper.ts';
import { WorkerBriefing, workerCountOf } from './worker-briefing.ts';
import { receiverOf } from './worker-messages.ts';
import { Inheritance, orphanFolder } from './workers/inheritance.ts';
import type { ListenSockets } from './workers/listen-sockets.ts';
import type { Roll } from './workers/rolling-replacement.ts';
import { Supervisor } from './workers/supervisor.ts';
import { TunnelList } from './workers/tunnel-list.ts';

export interface PrimaryOptions {
  settings: Settings;
  /** What `check` says about them; logged. */
  warnings: readonly Problem[];
  /** Read again by every reload. */
  configPath: string;
  env: NodeJS.ProcessEnv;
  /** Holds the signals that have come since the first line of this process. */
  signals: ProcessSignals;
}

const DATABASE_CLOSE_MS = 15_000;
const ACME_CLOSE_MS = 10_000;

/** startPrimary runs the front door until it is told to stop; called by `sluice serve`. Returns the exit code; never rejects. */
export function startPrimary(options: PrimaryOptions): Promise<number> {
  return new Primary(options).run();
}

class Primary {
  readonly #options: PrimaryOptions;
  readonly #log = new ProcessLog();
  readonly #logger = this.#log.logger;
  readonly #lifecycle = new Lifecycle();
  readonly #dataPath: DataPath;
  readonly #registry = new HealthRegistry();
  readonly #ejections: Ejections;
  readonly #collector = new MetricsCollector();
  /** Where the buckets are without Redis. */
  readonly #memory = new MemoryBucketStore(systemClock);
  /** Rejects at the first stop signal. */
  readonly #stopping = Promise.withResolvers<never>();
  readonly #drained = Promise.withResolvers<void>();
  /** Resolves when the phase becomes ready. */
  readonly #ready = Promise.withResolvers<Reloader>();
  readonly #notifier: SystemdNotifier;
  /** What a reload needs of the workers. */
  readonly #fleet = {
    resize: (count: number, drainMs: number) => this.#supervisor?.resize(count, drainMs),
    links: () => this.#supervisor?.everyLink() ?? [],
  };
  #phase: Phase = 'starting';
  #supervisor: Supervisor | null = null;
  #reloader: Reloader | null = null;
  #acme: AcmeService | null = null;
  #succession: Succession | null = null;
  #inheritance: Inheritance | null = null;

  constructor(options: PrimaryOptions) {
    this.#options = options;
    this.#dataPath = chooseDataPath(process.version, options.env);
    const links = () => this.#supervisor?.links() ?? [];
    const [registry, collector, logger] = [this.#registry, this.#collector, this.#logger];
    this.#ejections = new Ejections({ registry, collector, links, logger });
    this.#stopping.promise.catch(() => undefined);
    this.#notifier = new SystemdNotifier(options.env, this.#logger);
    this.#lifecycle.onClose('messages to systemd', () => this.#notifier.close());
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
      const error = toError(thrown);
      // The message of an expected failure says it all; a stack would bury it.
      const facts = error instanceof LbError ? { code: error.code } : { err: error };
      logger.fatal(facts, `cannot serve: ${error.message}`);
      // Whoever started it looks there, and not into a log file.
      if (this.#log.file !== null) process.stderr.write(`sluice: cannot serve: ${error.message}\n`);
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
        this.#supervisor?.broadcast({ type: 'reopen-logs' });
      },
      // During the start it waits, too.
      replaceWorkers: () => void this.#ready.promise.then(() => this.#signalledReplacement()),
    });
    this.#logStart();
    try {
      await this.#start();
    } catch (thrown) {
      if (this.#phase !== 'draining') throw thrown;
      this.#logger.info({ reason: toError(thrown).message }, 'the start was called off');
    }
    await this.#drained.promise;
  }

  /** The settings in force. */
  get #settings(): Settings {
    return this.#reloader?.current.settings ?? this.#options.settings;
  }

  get #workerCount(): number {
    return workerCountOf(this.#settings);
  }

  #logStart(): void {
    const { configPath, env, warnings } = this.#options;
    const facts = { version: sluiceVersion(), config: configPath, node: process.version, ...this.#dataPath };
    this.#logger.info(facts, 'Sluice starts');
    logWarnings(this.#logger, warnings);
    if (facts.wire === 'handle' || facts.engine === 'node' || env.SLUICE_WIRE) return;
    this.#logger.warn(`connections use the slower socket wire: ${slowReason(process.version)}`);
  }

  /**
   * Starts one part after the other, and registers how to close each. A stop signal ends a wait that may be long; a short step runs
   * to its end.
   */
  async #start(): Promise<void> {
    const { settings, configPath, env } = this.#options;
    const logger = this.#logger;
    const lifecycle = this.#lifecycle;
    const [registry, ejections] = [this.#registry, this.#ejections];
    const collector = this.#collector;

    const inheritance = new Inheritance(settings, this.#workerCount, logger);
    lifecycle.onClose('what an earlier primary left', () => inheritance.close());
    this.#inheritance = inheritance;
    await this.#unlessStopped(inheritance.claim(env, () => this.#phase === 'draining'));
    const storage = openStorage(settings.database, logger, { purpose: 'sluice serve', lazy: true });
    lifecycle.onClose('the database', () => storage.close(), DATABASE_CLOSE_MS);
    const initial = { number: 1, settings, policyVersionUs: await this.#unlessStopped(storage.nowUs()) };

    const directory = new PrimaryDirectory({ storage, settings, logger });
    lifecycle.onClose('the directory feed', () => directory.feed.close());
    const checker = new HealthChecker({ onResult: (...probe) => this.#probed(...probe) });
    lifecycle.onClose('health checks', () => checker.close());
    const briefing = new WorkerBriefing({ registry, directory, initial, logger });
    const tls = this.#openTls(briefing);
    const acme = this.#openAcme(storage.database, briefing, tls);
    const changed = { registry, ejections, checker, directory, collector, briefing, acme, tls };
    const onFileChange = () => void this.#reload();
    const prepareListen = (listen: Settings['listen']) => sockets.prepare(listen, logger);
    const read = { configPath, env, initial, onFileChange, prepareListen, ...this.#fleet };
    const reloader = new Reloader({ ...read, log: this.#log, storage, ...changed });
    this.#reloader = reloader;
    lifecycle.onClose('the watch of the configuration', () => reloader.close());
    const stopWarnings = warnOfPoolsDaily(() => reloader.current.settings.pools, logger);
    lifecycle.onClose('the warnings of certificates', stopWarnings);

    const sockets = await inheritance.bind();
    lifecycle.onClose('the listening sockets', () => sockets.close());
    if (this.#phase === 'draining') return;
    const supervisor = this.#makeSupervisor(sockets, briefing);
    lifecycle.onClose('the workers', () => supervisor.stopNow());
    this.#supervisor = supervisor;
    const { health, firstProbes } = this.#openHealth(checker, supervisor);
    // Their certificates are part of what workers are told first.
    await this.#unlessStopped(acme.configure(settings));
    const workersServe = supervisor.start();
    directory.start();

    const buckets = await this.#openBuckets(storage.database, briefing);
    const dataPath = this.#dataPath;
    const droppedLines = () => this.#log.application.droppedCount;
    const shown = { collector, supervisor, registry, reloader, dataPath, droppedLines, tls, acme };
    const gauges = new PrimaryGauges(shown);
    const tunnels = new TunnelList(() => supervisor.links());
    const parts = { logger, directory, registry, supervisor, reloader, gauges, buckets, tunnels };
    const replaceWorkers = () => this.#replaceWorkers();
    const phase = () => this.#phase;
    const admin = new AdminPort(settings.admin, { ...parts, replaceWorkers, phase });
    lifecycle.onClose('the admin port', () => admin.close());
    await admin.open();
    this.#succession = new Succession({ sockets, storage, admin, health, logger });

    await this.#unlessStopped(workersServe);
    acme.start();
    sockets.unlock();
    await this.#unlessStopped(firstProbes);
    await inheritance.relieve();
    this.#phase = 'ready';
    this.#tellSystemd(inheritance.predecessor);
    this.#sayReady({ addresses: sockets.addresses, admin: admin.url, workers: this.#workerCount });
    this.#ready.resolve(reloader);
  }

  #openTls(briefing: WorkerBriefing): TlsKeeper {
    const { settings } = this.#options;
    const tell: WorkerBriefing['tellTls'] = (material) => briefing.tellTls(material);
    const tls = new TlsKeeper({ settings, logger: this.#logger, tell });
    this.#lifecycle.onClose('the certificates', () => tls.close());
    tls.start();
    return tls;
  }

  #openAcme(database: Database, briefing: WorkerBriefing, tls: TlsKeeper): AcmeService {
    const [collector, logger] = [this.#collector, this.#logger];
    const acme = new AcmeService({ database, briefing, collector, onCertificates: tls.useIssued, logger });
    this.#lifecycle.onClose('the orders of certificates', () => acme.close(), ACME_CLOSE_MS);
    this.#acme = acme;
    return acme;
  }

  /** Waits for a step of the start, and rejects at once when a stop signal comes. */
  #unlessStopped<T>(step: Promise<T>): Promise<T> {
    return Promise.race([this.#stopping.promise, step]);
  }

  #tellSystemd(predecessor: Predecessor | null): void {
    // Only then may the old primary end: systemd watches this one.
    void this.#notifier.ready(this.#status()).then(() => predecessor?.ready());
    const isWell = () => this.#phase !== 'ready' || (this.#supervisor?.counts().serving ?? 0) > 0;
    this.#notifier.startWatchdog(isWell);
  }

  #sayReady(facts: { addresses: string[]; admin: string; workers: number }): void {
    const { wire, engine } = this.#dataPath;
    const { format, file } = this.#settings.log;
    if (format === 'pretty' || file !== null) this.#logger.info(facts, 'ready');
    // JSON on standard output, whatever `log` says: programs wait for this line.
    new LineWriter(APPLICATION_LINES).write(
      boundedLine(`${JSON.stringify({ msg: 'ready', ...facts, wire, engine })}\n`),
    );
  }

  /** Begins to probe and to eject. firstProbes resolves when each backend has had a result, after a few seconds at the latest. */
  #openHealth(checker: HealthChecker, supervisor: Supervisor) {
    const [registry, ejections, logger] = [this.#registry, this.#ejections, this.#logger];
    const { pools, database } = this.#settings;
    const path = pathInData(database, 'health.json');
    const health = new HealthFile({ path, saved: () => registry.saved(), logger });
    this.#lifecycle.onClose('the health file', () => health.close());
    registry.restore(health.load());
    tellHealth(registry, logger, (message) => supervisor.broadcast(message), health);
    registry.configure(pools);
    ejections.configure(pools);
    this.#lifecycle.onClose('the ejections', () => ejections.close());
    return { health, firstProbes: checker.reconfigure(pools) };
  }

  #probed(pool: string, backend: string, result: ProbeResult): void {
    this.#collector.count('sluice_probes_total', [pool, backend, resultLabel(result)]);
    this.#registry.record(pool, backend, result);
  }

  #makeSupervisor(sockets: ListenSockets, briefing: WorkerBriefing): Supervisor {
    const [collector, memory, logger] = [this.#collector, this.#memory, this.#logger];
    const [registry, ejections] = [this.#registry, this.#ejections];
    const isDraining = () => this.#phase === 'draining';
    return new Supervisor({
      workerCount: () => this.#workerCount,
      dataPath: this.#dataPath,
      log: () => this.#settings.log,
      orphanFolder: orphanFolder(this.#options.settings.database),
      watchLoops: this.#options.env.SLUICE_WATCH_LOOPS === '1',
      inheritedBy: (index) => sockets.inheritedBy(index),
      logger: this.#logger,
      prepare: (link) => {
        void link.exited.then(() => this.#collector.forget(link.pid));
        return briefing.brief(link);
      },
      onMessage: receiverOf({ sockets, collector, registry, ejections, memory, logger, isDraining }),
    });
  }

  /** Replaces the workers one by one with the code on disk; null: that is under way, or the instance stops. */
  #replaceWorkers(): Roll | null {
    return this.#supervisor?.replaceWorkers(this.#settings.timeouts.drainMs) ?? null;
  }

  /** During the start it waits for the end of the start: the file may have changed since it was read. */
  async #reload(): Promise<void> {
    const reloader = await this.#ready.promise;
    this.#notifier.reloading();
    await reloader.reload();
    void this.#notifier.ready(this.#status());
  }

  /** For `systemctl status`. */
  #status(): string {
    const { number, settings } = this.#reloader?.current ?? { number: 1, settings: this.#settings };
    return `serving ${settings.listen.length} addresses with ${this.#workerCount} workers, revision ${number}`;
  }

  /** Where systemd can be told of another pid, and all sockets can be handed over, this process is replaced too. */
  async #signalledReplacement(): Promise<void> {
    const succession = this.#succession;
    if (!this.#notifier.isUsed || !succession?.isPossible) this.#signalledRoll();
    else if ((await succession.replace()) && this.#phase === 'ready') {
      this.#logger.info('another primary serves: draining');
      this.#phase = 'draining';
      this.#notifier.fallSilent();
      this.#acme?.stopOrders();
      await this.#endWorkers(0);
    }
  }

  #signalledRoll(): void {
    if (this.#replaceWorkers() === null)
      this.#logger.warn('SIGUSR2 is ignored: workers are being replaced already');
  }

  /** Opens what the admin port shows of buckets, and starts the heartbeat over the same connection to Redis. */
  async #openBuckets(database: Database, briefing: WorkerBriefing): Promise<OperatorBuckets> {
    const { redis } = this.#settings;
    const logger = this.#logger;
    const workers = () => this.#workerCount;
    const broadcast = (message: PrimaryMessage) => this.#supervisor?.broadcast(message);
    const policies = () => this.#settings.rateLimit.policies;
    const memory = this.#memory;
    const buckets = await OperatorBuckets.open({ redis, memory, database, policies, broadcast, logger });
    this.#lifecycle.onClose('the buckets of operators', () => buckets.close());
    if (redis === null || buckets.connection === null) return buckets;
    const heartbeat = new InstanceHeartbeat({
      connection: buckets.connection,
      prefix: redis.prefix,
      workers,
      assumedWorkers: () => this.#settings.rateLimit.instances * workers(),
      onChange: (count) => {
        briefing.storeWorkers = count;
        broadcast({ type: 'store-workers', count });
      },
      logger,
    });
    this.#lifecycle.onClose('the heartbeat', () => heartbeat.close());
    heartbeat.start();
    return buckets;
  }

  async #drain(signal: NodeJS.Signals): Promise<void> {
    const { drainGraceMs, drainMs } = this.#settings.timeouts;
    // Nobody has been told of an instance that is not ready: there is nothing to wait for.
    const graceMs = this.#phase === 'ready' ? drainGraceMs : 0;
    this.#phase = 'draining';
    this.#stopping.reject(new Error(`${signal} came before the instance was ready`));
    this.#logger.info({ signal, drainGraceMs: graceMs, drainMs }, 'draining');
    this.#notifier.stopping();
    this.#succession?.abandon();
    this.#acme?.stopOrders();
    this.#inheritance?.orphans.drain();
    await this.#endWorkers(graceMs);
  }

  async #endWorkers(graceMs: number): Promise<void> {
    const { drainMs } = this.#settings.timeouts;
    const drained = await this.#supervisor?.drain({ graceMs, drainMs });
    if (drained !== undefined && drained.killedCount > 0)
      this.#logger.warn({ workers: drained.killedCount }, 'workers were killed at the end of the drain');
    this.#drained.resolve();
  }

  async #stopNow(signal: NodeJS.Signals): Promise<void> {
    this.#logger.warn({ signal }, 'second signal: stopping at once');
    this.#succession?.abandon();
    await this.#supervisor?.stopNow();
    // Without the clean-up, which may take long: whoever signals twice wants an end.
    process.exit(1);
  }
}
