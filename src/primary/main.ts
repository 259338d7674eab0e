/**
 * The primary process: builds its parts, each once and after those that it needs, starts them, and ends them in the opposite
 * order. It never touches a proxied byte.
 *
 * Phases:
 * - starting: #start() is at work. Leads to ready, or to draining by a stop signal.
 * - ready: requests are answered. Leads to draining by a stop signal.
 * - draining: workers end. Nothing leads out of it but the end of the process.
 */
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Problem } from '../config/problems.ts';
import { systemClock } from '../contract/clock.ts';
import type { DataPath } from '../contract/data-path.ts';
import { LbError, toError } from '../contract/errors.ts';
import type { WorkerMessage } from '../contract/messages.ts';
import { liveSeries } from '../contract/metrics.ts';
import type { Settings } from '../contract/settings.ts';
import { sluiceVersion } from '../infra/build-info.ts';
import { atMost, Lifecycle } from '../infra/lifecycle.ts';
import { APPLICATION_LINES, LineWriter } from '../infra/logging/line-writer.ts';
import { attachLog, boundedLine, type Logger, makeLogger } from '../infra/logging/logger.ts';
import type { ProcessSignals } from '../infra/process-signals.ts';
import { chooseDataPath, slowReason } from '../infra/wire/wire-choice.ts';
import { MemoryBucketStore } from '../limit/store/memory-bucket-store.ts';
import type { AdminParts, Phase } from './admin/parts.ts';
import { answerTakes } from './buckets/bucket-host.ts';
import { BucketResets } from './buckets/bucket-resets.ts';
import { BucketViews } from './buckets/bucket-views.ts';
import { PrimaryDirectory } from './clients/primary-directory.ts';
import { HealthChecker } from './health/health-checker.ts';
import { HealthRegistry } from './health/health-registry.ts';
import { InstanceHeartbeat } from './instance-heartbeat.ts';
import { startFleetMean } from './metrics/fleet-mean.ts';
import { PrimaryGauges } from './metrics/gauges.ts';
import { MetricsCollector } from './metrics/metrics-collector.ts';
import { logWarnings, Reloader, type Revision } from './reloader.ts';
import { openStorage, type Storage } from './storage.ts';
import { WorkerBriefing } from './worker-briefing.ts';
import { waitForFreeAddresses } from './workers/busy-addresses.ts';
import { removeDeadSockets } from './workers/dead-sockets.ts';
import { ListenSockets } from './workers/listen-sockets.ts';
import { Supervisor } from './workers/supervisor.ts';
import type { WorkerLink } from './workers/worker-link.ts';

export interface PrimaryOptions {
  settings: Settings;
  /** What `check` warns of in them; logged. */
  warnings: readonly Problem[];
  /** Read again by every reload. */
  configPath: string;
  env: NodeJS.ProcessEnv;
  /** Those of this process, caught since its first line. */
  signals: ProcessSignals;
}

/** The ready line waits this long for clients and keys: the database may be away. */
const FIRST_LOAD_MS = 5_000;
/** The ready line, and a reload, wait this long for the first results of probes: a backend may hang. */
const FIRST_PROBES_MS = 3_000;
const DATABASE_CLOSE_MS = 15_000;

/** startPrimary runs the front door until it is told to stop; called by `sluice serve`. Returns the exit code; never rejects. */
export async function startPrimary(options: PrimaryOptions): Promise<number> {
  const lines = new LineWriter(APPLICATION_LINES);
  const logger = makeLogger(options.settings.log, { out: lines });
  attachLog(logger, { application: lines });
  process.on('exit', () => lines.flushSync());
  const lifecycle = new Lifecycle();
  process.on('uncaughtException', (error) => {
    // The state of this process is unknown now. Workers see the primary go, finish and exit.
    logger.fatal({ err: error }, 'uncaught exception in the primary');
    process.exit(1);
  });
  let code: number;
  try {
    code = await new Primary(options, { lines, logger, lifecycle }).run();
  } catch (thrown) {
    const error = toError(thrown);
    // An expected failure has a sentence of its own, which a stack would bury.
    const facts = error instanceof LbError ? { code: error.code } : { err: error };
    logger.fatal(facts, `cannot serve: ${error.message}`);
    code = 1;
  }
  try {
    await lifecycle.close();
  } catch (error) {
    logger.error({ err: error }, 'closing was not clean');
  }
  return code;
}

interface FleetParts {
  directory: PrimaryDirectory;
  registry: HealthRegistry;
  checker: HealthChecker;
  briefing: WorkerBriefing;
  collector: MetricsCollector;
}

interface Parts extends FleetParts {
  supervisor: Supervisor;
  reloader: Reloader;
}

/** What exists before the primary does, and outlives it. */
interface Given {
  /** Where the lines of the log go. */
  lines: LineWriter;
  logger: Logger;
  lifecycle: Lifecycle;
}

class Primary {
  readonly #options: PrimaryOptions;
  readonly #lines: LineWriter;
  readonly #logger: Logger;
  readonly #lifecycle: Lifecycle;
  readonly #dataPath: DataPath;
  /** Where the buckets are without Redis. */
  readonly #buckets = new MemoryBucketStore(systemClock);
  readonly #reloader = Promise.withResolvers<Reloader>();
  /** Resolves at the first stop signal. */
  readonly #stopping = Promise.withResolvers<null>();
  readonly #stopped = Promise.withResolvers<number>();
  #phase: Phase = 'starting';
  /** The settings in force. */
  #settings: Settings;
  #supervisor: Supervisor | null = null;
  /** null before they are bound. */
  #sockets: ListenSockets | null = null;

  constructor(options: PrimaryOptions, { lines, logger, lifecycle }: Given) {
    this.#options = options;
    this.#lines = lines;
    this.#logger = logger;
    this.#lifecycle = lifecycle;
    this.#settings = options.settings;
    this.#dataPath = chooseDataPath(process.version, options.env);
  }

  /** run starts everything and resolves with the exit code once stopped. */
  async run(): Promise<number> {
    this.#options.signals.handle({
      stop: (signal) => void this.#drain(signal),
      stopNow: (signal) => void this.#stopNow(signal),
      // One that comes during the start is done behind it: the file may have been read before it was changed.
      reload: () => void this.#reloader.promise.then((reloader) => reloader.reload()),
      ignore: (signal) => this.#logger.warn({ signal }, 'this signal does nothing in this version'),
    });
    this.#logStart();
    try {
      await this.#start();
    } catch (thrown) {
      if (!this.#isStopping) throw thrown;
      this.#logger.info({ reason: toError(thrown).message }, 'the start was called off');
    }
    return this.#stopped.promise;
  }

  /** Whether a stop was asked for; a start goes no further then. */
  get #isStopping(): boolean {
    return this.#phase === 'draining';
  }

  #logStart(): void {
    const { configPath, env } = this.#options;
    const facts = { version: sluiceVersion(), config: configPath, node: process.version, ...this.#dataPath };
    this.#logger.info(facts, 'Sluice starts');
    logWarnings(this.#logger, this.#options.warnings);
    if (facts.wire === 'handle' || facts.engine === 'node' || env.SLUICE_WIRE) return;
    this.#logger.warn(`connections go the slow way: ${slowReason(process.version)}`);
  }

  async #start(): Promise<void> {
    const { listen, admin, database } = this.#settings;
    const wanted = [...listen, { kind: 'tcp', ...admin } as const];
    await waitForFreeAddresses(wanted, this.#logger, () => this.#isStopping);
    if (this.#isStopping) return;
    const storage = await openStorage(database, this.#logger);
    this.#lifecycle.onClose('the database', () => storage.close(), DATABASE_CLOSE_MS);
    const startedAtUs = await Promise.race([storage.nowUs(), this.#stopping.promise]);
    if (startedAtUs === null || this.#isStopping) return;
    const parts = this.#makeParts(storage, {
      number: 1,
      settings: this.#settings,
      policyVersionUs: startedAtUs,
    });
    const firstProbes = this.#startProbes(parts);
    await this.#openSockets(parts.supervisor);
    const workers = this.#startWorkers(parts.supervisor);
    workers.catch(() => undefined);
    parts.directory.start();
    // Only now: the workers start while this process loads the admin server, which takes as long.
    const { startAdminServer } = await import('./admin/server.ts');
    const adminParts = await this.#openAdminParts(parts, storage);
    const adminServer = await startAdminServer(admin, adminParts);
    this.#lifecycle.onClose('the admin port', () => adminServer.close());
    const addresses = await workers;
    const known = [parts.directory.streams.waitForAll(FIRST_LOAD_MS), firstProbes];
    await Promise.race([Promise.all(known), this.#stopping.promise]);
    if (this.#isStopping) return;
    this.#phase = 'ready';
    this.#sayReady({ addresses, admin: adminServer.url, workers: parts.supervisor.workers().length });
    this.#reloader.resolve(parts.reloader);
  }

  #sayReady(facts: { addresses: string[]; admin: string; workers: number }): void {
    const { wire, engine } = this.#dataPath;
    if (this.#settings.log.format === 'pretty') this.#logger.info(facts, 'ready');
    // For programs that wait for it: JSON whatever the format.
    this.#lines.write(boundedLine(`${JSON.stringify({ msg: 'ready', ...facts, wire, engine })}\n`));
  }

  /** Builds what the fleet needs; nothing of it runs yet. */
  #makeParts(storage: Storage, initial: Revision): Parts {
    const { settings } = initial;
    const logger = this.#logger;
    const directory = new PrimaryDirectory({ storage, settings, logger });
    this.#lifecycle.onClose('the client feed', () => directory.feed.close());
    const registry = new HealthRegistry();
    const collector = new MetricsCollector();
    const checker = new HealthChecker({
      clock: systemClock,
      random: Math.random,
      onResult: (pool, backend, result) => {
        collector.count('sluice_probes_total', [pool, backend, result.ok ? 'pass' : 'fail']);
        registry.record(pool, backend, result);
      },
    });
    this.#lifecycle.onClose('health checks', () => checker.close());
    const briefing = new WorkerBriefing({ registry, directory, initial, logger });
    const fleet = { directory, registry, checker, briefing, collector };
    const supervisor = this.#makeSupervisor(fleet);
    const reloader = this.#makeReloader(storage, initial, fleet);
    return { ...fleet, supervisor, reloader };
  }

  #makeSupervisor({ registry, briefing, collector }: FleetParts): Supervisor {
    const { workers } = this.#settings;
    const onMessage = (link: WorkerLink, message: WorkerMessage): void => {
      if (message.type === 'report') collector.applyDelta(link.pid, message.report.metrics);
      else if (message.type === 'bucket-takes')
        answerTakes(this.#buckets, this.#logger, message, (reply) => link.send(reply));
      else if (message.type === 'backend-failure') {
        registry.recordTrafficFailure(message.pool, message.backend, message.detail);
      } else if (message.type === 'ready') this.#sockets?.dealer.add(link);
      else if (message.type === 'connection-taken') this.#sockets?.dealer.taken(link);
      else if (message.type === 'no-more-connections') void this.#endDeal(link);
    };
    const supervisor = new Supervisor({
      exec: workerEntry(),
      workerCount: workers === 'auto' ? availableParallelism() : workers,
      dataPath: this.#dataPath,
      inheritedBy: (index) => this.#sockets?.inheritedBy(index) ?? { fds: [], env: [] },
      clock: systemClock,
      logger: this.#logger,
      prepare: (link) => {
        void link.exited.then(() => collector.forget(link.pid));
        return briefing.brief(link);
      },
      onMessage,
    });
    this.#supervisor = supervisor;
    this.#lifecycle.onClose('the workers', () => supervisor.stopNow());
    return supervisor;
  }

  #makeReloader(storage: Storage, initial: Revision, parts: FleetParts): Reloader {
    const { configPath, env } = this.#options;
    const { registry, checker, directory, briefing, collector } = parts;
    return new Reloader({
      configPath,
      env,
      initial,
      logger: this.#logger,
      nowUs: () => storage.nowUs(),
      prepare: ({ pools }) => atMost(checker.prepare(pools), FIRST_PROBES_MS),
      apply: (revision) => {
        const { settings } = revision;
        this.#settings = settings;
        this.#logger.level = settings.log.level;
        registry.configure(settings.pools);
        void checker.reconfigure(settings.pools);
        directory.configure(settings);
        collector.keepOnly(liveSeries(settings));
        return briefing.apply(revision);
      },
    });
  }

  /** Resolves when the first results are there, or late. */
  #startProbes({ registry, checker, supervisor }: Parts): Promise<unknown> {
    const { pools } = this.#settings;
    registry.onChange(({ state, cause }) => {
      const { pool, backend, health, enabled, reason, lastProbe } = state;
      const level = health === 'down' || cause === 'resolver' ? 'warn' : 'info';
      const resolverError = cause === 'resolver' ? { resolverError: lastProbe?.resolverError ?? null } : {};
      const facts = { pool, backend, health, enabled, reason, cause, ...resolverError };
      this.#logger[level](facts, 'backend state changed');
      supervisor.broadcast({ type: 'backends', states: registry.availability(pool) });
    });
    registry.configure(pools);
    return atMost(checker.reconfigure(pools), FIRST_PROBES_MS);
  }

  async #openSockets(supervisor: Supervisor): Promise<void> {
    const { accept, listen } = this.#settings;
    await removeDeadSockets(listen, this.#logger);
    if (this.#isStopping) return;
    this.#sockets = await ListenSockets.open({ listen, accept, workerCount: supervisor.workers().length });
    this.#lifecycle.onClose('the listening sockets', () => this.#sockets?.close());
  }

  /** Forks them before it returns. Resolves with the URLs that they serve at. */
  async #startWorkers(supervisor: Supervisor): Promise<string[]> {
    await supervisor.start();
    this.#sockets?.unlock();
    this.#lifecycle.onClose('the mean', startFleetMean(supervisor));
    return this.#sockets?.addresses ?? [];
  }

  /** A worker is about to close its listeners: alone, or as all others do. */
  async #endDeal(link: WorkerLink): Promise<void> {
    if (this.#isStopping) await this.#sockets?.letGo();
    this.#sockets?.dealer.remove(link);
    link.send({ type: 'no-more-connections' });
  }

  async #openAdminParts(parts: Parts, { database }: Storage): Promise<AdminParts> {
    const { supervisor, reloader } = parts;
    const logger = this.#logger;
    const { redis } = this.#settings;
    const bucketViews = await BucketViews.open({ redis, memory: this.#buckets, logger });
    this.#lifecycle.onClose('the look at buckets', () => bucketViews.close());
    this.#startHeartbeat(bucketViews, parts);
    const current = (): Revision => reloader.current;
    const broadcast = supervisor.broadcast.bind(supervisor);
    const bucketResets = new BucketResets({ views: bucketViews, database, current, broadcast, logger });
    this.#lifecycle.onClose('the resets of buckets', bucketResets.start());
    return {
      ...parts,
      logger,
      gauges: new PrimaryGauges({
        ...parts,
        dataPath: this.#dataPath,
        droppedLines: () => this.#lines.droppedCount,
      }),
      bucketViews,
      bucketResets,
      phase: () => this.#phase,
    };
  }

  #startHeartbeat({ connection }: BucketViews, { supervisor, briefing }: Parts): void {
    const { redis } = this.#settings;
    if (redis === null || connection === null) return;
    const workers = supervisor.workers().length;
    const heartbeat = new InstanceHeartbeat({
      connection,
      prefix: redis.prefix,
      workers,
      assumedWorkers: () => this.#settings.rateLimit.instances * workers,
      onChange: (count) => {
        briefing.storeWorkers = count;
        supervisor.broadcast({ type: 'store-workers', count });
      },
      clock: systemClock,
      logger: this.#logger,
    });
    this.#lifecycle.onClose('the heartbeat', () => heartbeat.close());
    heartbeat.start();
  }

  async #drain(signal: NodeJS.Signals): Promise<void> {
    const { drainGraceMs, drainMs } = this.#settings.timeouts;
    // Nobody has been told of an instance that is not ready: there is nothing to wait for.
    const graceMs = this.#phase === 'ready' ? drainGraceMs : 0;
    this.#phase = 'draining';
    this.#stopping.resolve(null);
    this.#logger.info({ signal, drainGraceMs: graceMs, drainMs }, 'draining');
    const drained = await this.#supervisor?.drain({ graceMs, drainMs });
    if (drained !== undefined && drained.killedCount > 0)
      this.#logger.warn({ workers: drained.killedCount }, 'workers were killed at the end of the drain');
    this.#stopped.resolve(0);
  }

  async #stopNow(signal: NodeJS.Signals): Promise<void> {
    this.#logger.warn({ signal }, 'second signal: stopping at once');
    await this.#supervisor?.stopNow();
    // No clean-up, which may take its time: whoever signals twice wants an end.
    process.exit(1);
  }
}

/** The worker's entry file: TypeScript from a checkout, JavaScript from dist/. */
function workerEntry(): string {
  const file = import.meta.url.endsWith('.ts') ? '../worker/main.ts' : '../worker/main.js';
  return fileURLToPath(new URL(file, import.meta.url));
}
