/**
 * The primary process, put together: builds the parts, wires them, starts them in order, and ends them in the opposite one.
 * No logic of its own. It never touches a proxied byte.
 */
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { ClientFeed } from '../clients/client-feed.ts';
import { ClientRepository } from '../clients/client-repository.ts';
import { systemClock } from '../contract/clock.ts';
import type { DataPath } from '../contract/data-path.ts';
import { LbError, systemCodeOf, toError } from '../contract/errors.ts';
import type { WorkerMessage } from '../contract/messages.ts';
import type { Settings } from '../contract/settings.ts';
import { sluiceVersion } from '../infra/build-info.ts';
import { Lifecycle } from '../infra/lifecycle.ts';
import { APPLICATION_LINES, LineWriter } from '../infra/logging/line-writer.ts';
import { attachLog, type Logger, makeLogger } from '../infra/logging/logger.ts';
import { chooseDataPath, slowReason } from '../infra/wire/wire-choice.ts';
import { MemoryBucketStore } from '../limit/store/memory-bucket-store.ts';
import { makeAdminServices } from './admin/admin-services.ts';
import { startAdminServer } from './admin/server.ts';
import type { AdminServices, Readiness } from './admin/services.ts';
import { BucketHost } from './buckets/bucket-host.ts';
import { BucketResets } from './buckets/bucket-resets.ts';
import { BucketViews } from './buckets/bucket-views.ts';
import { PrimaryApiKeys } from './clients/api-keys.ts';
import { atMost, ClientStreams } from './clients/client-streams.ts';
import { LimitChanges } from './clients/limit-changes.ts';
import { HealthChecker } from './health/health-checker.ts';
import { availabilityOf, HealthRegistry } from './health/health-registry.ts';
import { InstanceHeartbeat } from './instance-heartbeat.ts';
import { startFleetMean } from './metrics/fleet-mean.ts';
import { PrimaryGauges } from './metrics/gauges.ts';
import { MetricsCollector } from './metrics/metrics-collector.ts';
import { Reloader, type Revision } from './reloader.ts';
import { rollOut, settingsMessage, warmHealth } from './rollout.ts';
import { handleSignals } from './stop-signals.ts';
import { openStorage, type Storage } from './storage.ts';
import { removeDeadSockets } from './workers/dead-sockets.ts';
import { ListenSockets } from './workers/listen-sockets.ts';
import { Supervisor } from './workers/supervisor.ts';
import type { WorkerLink } from './workers/worker-link.ts';

export interface PrimaryOptions {
  settings: Settings;
  /** Read again by every reload. */
  configPath: string;
  env: NodeJS.ProcessEnv;
}

/** How long the ready line, and a new worker, wait until the clients are known. */
const FIRST_LOAD_MS = 5_000;
/** A starting primary retries a busy port for so long. */
const BUSY_PORT_MS = 10_000;
const BUSY_PORT_RETRY_MS = 500;

/** The worker's entry file: TypeScript from a checkout, JavaScript from dist/. */
function workerEntry(): string {
  const file = import.meta.url.endsWith('.ts') ? '../worker/main.ts' : '../worker/main.js';
  return fileURLToPath(new URL(file, import.meta.url));
}

/** startPrimary runs the front door until it is told to stop; called by `sluice serve`. Returns the exit code; never rejects. */
export async function startPrimary(options: PrimaryOptions): Promise<number> {
  const lines = new LineWriter(APPLICATION_LINES);
  const logger = makeLogger(options.settings.log, { out: lines });
  attachLog(logger, { application: lines });
  process.on('exit', () => lines.flushSync());
  const lifecycle = new Lifecycle();
  process.on('uncaughtException', (error) => {
    // Whatever it was, the state of this process is unknown now. Workers see the primary go, finish and exit.
    logger.fatal({ err: error }, 'uncaught exception in the primary');
    process.exit(1);
  });
  let code: number;
  try {
    code = await new Primary(options, { lines, logger, lifecycle }).run();
  } catch (thrown) {
    const error = toError(thrown);
    // What is known to go wrong has a sentence, which a stack would only bury.
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

interface Wired {
  streams: ClientStreams;
  apiKeys: PrimaryApiKeys;
  services: AdminServices;
  /** The first round of probes. */
  firstRound: Promise<void>;
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
  readonly #collector = new MetricsCollector();
  readonly #buckets = new MemoryBucketStore({ clock: systemClock });
  readonly #bucketHost: BucketHost;
  readonly #registry = new HealthRegistry();
  readonly #checker = new HealthChecker({
    clock: systemClock,
    random: Math.random,
    onResult: (pool, backend, result) => this.#registry.record(pool, backend, result),
  });
  readonly #supervisor: Supervisor;
  readonly #dataPath: DataPath;
  /** With accept reuse_port, once they are bound. */
  #sockets: ListenSockets | null = null;
  readonly #stopped = Promise.withResolvers<number>();
  #phase: Readiness['status'] = 'starting';

  constructor(options: PrimaryOptions, { lines, logger, lifecycle }: Given) {
    this.#options = options;
    this.#lines = lines;
    this.#logger = logger;
    this.#lifecycle = lifecycle;
    this.#bucketHost = new BucketHost(this.#buckets, logger);
    this.#dataPath = chooseDataPath(process.version, options.env);
    const { workers, accept } = options.settings;
    this.#supervisor = new Supervisor({
      exec: workerEntry(),
      workerCount: workers === 'auto' ? availableParallelism() : workers,
      accept,
      dataPath: this.#dataPath,
      inheritedFds: (index) => this.#sockets?.descriptorsOf(index) ?? [],
      clock: systemClock,
      logger,
      prepare: (link) => this.#prepare(link),
      onMessage: (link, message) => this.#onMessage(link, message),
    });
  }

  #prepare: (link: WorkerLink) => void | Promise<void> = () => undefined;
  /** null without Redis. */
  #heartbeat: InstanceHeartbeat | null = null;

  /** Starts everything, says ready, and resolves with the exit code once stopped. */
  async run(): Promise<number> {
    const { settings } = this.#options;
    handleSignals(
      {
        drain: (signal) => void this.#drain(signal),
        stopNow: (signal) => void this.#stopNow(signal),
        reload: () => this.#reload(),
      },
      this.#logger,
      systemClock,
    );
    this.#tellStart();
    const storage = await openStorage(settings.database, this.#logger);
    this.#lifecycle.onClose('the database', () => storage.close(), 15_000);
    const { streams, apiKeys, services, firstRound } = await this.#wire(storage);
    const admin = await this.#listenAdmin(services);
    this.#lifecycle.onClose('the admin port', () => admin.close());
    const addresses = await this.#startWorkers();
    if (addresses === null) return this.#stopped.promise;
    const supervisor = this.#supervisor;
    const broadcast = supervisor.broadcast.bind(supervisor);
    this.#lifecycle.onClose('the mean', startFleetMean({ workers: () => supervisor.workers(), broadcast }));
    const firstLoads = [streams.waitForAll(FIRST_LOAD_MS), apiKeys.waitForFirstLoad(FIRST_LOAD_MS)];
    await Promise.all([firstRound, ...firstLoads]);
    if (this.#phase === 'starting') this.#sayReady(addresses, admin.url);
    return this.#stopped.promise;
  }

  #tellStart(): void {
    const { configPath, env } = this.#options;
    const facts = { version: sluiceVersion(), config: configPath, node: process.version, ...this.#dataPath };
    this.#logger.info(facts, 'Sluice starts');
    if (facts.wire === 'handle' || facts.engine === 'node' || env.SLUICE_WIRE) return;
    this.#logger.warn(`connections go the slow way: ${slowReason(process.version)}`);
  }

  async #wire(storage: Storage): Promise<Wired> {
    const { settings, configPath, env } = this.#options;
    const logger = this.#logger;
    const registry = this.#registry;
    const supervisor = this.#supervisor;
    const repository = new ClientRepository(storage.database);
    const feed = new ClientFeed({ database: storage.database, repository, logger });
    const streams = new ClientStreams(feed);
    this.#lifecycle.onClose('the client feed', () => feed.close());
    const apiKeys = this.#openApiKeys(storage);
    this.#lifecycle.onClose('health checks', () => this.#checker.close());
    registry.onChange(({ state, cause }) => {
      const { pool, backend, health, enabled, reason } = state;
      const level = health === 'down' ? 'warn' : 'info';
      logger[level]({ pool, backend, health, enabled, reason, cause }, 'backend state changed');
      supervisor.broadcast({ type: 'backends', states: [availabilityOf(state)] });
    });
    const reloader = new Reloader({
      configPath,
      env,
      logger,
      initial: { number: 1, settings, policyVersionUs: await storage.nowUs() },
      nowUs: () => storage.nowUs(),
      warm: (next) => warmHealth(next, registry, this.#checker),
      apply: (revision) => {
        apiKeys.follow(revision.settings);
        return this.#rollOut(revision, streams);
      },
    });
    this.#reload = () => void reloader.reload();
    this.#settings = () => reloader.current.settings;
    this.#prepare = async (link) => {
      void link.exited.then(() => this.#collector.forget(link.pid));
      link.send({ type: 'backends', states: registry.availability() });
      const keysTold = apiKeys.streams.attach(link);
      const count = this.#heartbeat?.storeWorkers ?? null;
      if (count !== null) link.send({ type: 'store-workers', count });
      const informed = streams.attach(link);
      // A replacement serves nobody before it knows who is blocked. Before the first load there is nothing to wait for.
      if (feed.version > 0) await streams.waitFor(link, FIRST_LOAD_MS);
      await atMost(keysTold, FIRST_LOAD_MS);
      const known = streams.knows(link);
      link.send(settingsMessage(reloader.current, known));
      if (known) return;
      // From then on the policies' limits carry their real version.
      void informed.then((knows) => (knows ? this.#rollOut(reloader.current, streams, [link]) : null));
    };
    const firstRound = warmHealth(settings, registry, this.#checker);
    void storage.opened.then(() => feed.start());
    const bucketViews = await this.#openBucketViews();
    const gauges = this.#makeGauges(reloader);
    const phase = (): Readiness['status'] => this.#phase;
    const current = (): Revision => reloader.current;
    const limitChanges = new LimitChanges({ feed, store: bucketViews.store, current, logger });
    this.#lifecycle.onClose('the changes of limits', () => limitChanges.close());
    const bucketResets = this.#openBucketResets(bucketViews, storage, current);
    const stores = { repository, feed, apiKeys, bucketViews, bucketResets };
    const services = makeAdminServices({
      ...stores,
      clock: systemClock,
      logger,
      registry,
      supervisor,
      reloader,
      gauges,
      phase,
    });
    return { streams, apiKeys, services, firstRound };
  }

  #makeGauges(reloader: Reloader): PrimaryGauges {
    return new PrimaryGauges({
      collector: this.#collector,
      supervisor: this.#supervisor,
      registry: this.#registry,
      reloader,
      dataPath: this.#dataPath,
      droppedLines: () => this.#lines.droppedCount,
    });
  }

  #openApiKeys({ database, opened }: Storage): PrimaryApiKeys {
    const { settings } = this.#options;
    const apiKeys = new PrimaryApiKeys({ database, opened, settings, logger: this.#logger });
    this.#lifecycle.onClose('the API keys', () => apiKeys.feed.close());
    return apiKeys;
  }

  #openBucketResets(views: BucketViews, { database }: Storage, current: () => Revision): BucketResets {
    const broadcast = this.#supervisor.broadcast.bind(this.#supervisor);
    const resets = new BucketResets({ views, database, current, broadcast, logger: this.#logger });
    this.#lifecycle.onClose('the resets of buckets', resets.start());
    return resets;
  }

  async #openBucketViews(): Promise<BucketViews> {
    const { redis } = this.#options.settings;
    const memory = this.#buckets;
    const views = await BucketViews.open({ redis, memory, clock: systemClock, logger: this.#logger });
    this.#lifecycle.onClose('the look at buckets', () => views.close());
    this.#startHeartbeat(views);
    return views;
  }

  #startHeartbeat({ connection }: BucketViews): void {
    const { redis } = this.#options.settings;
    if (redis === null || connection === null) return;
    const supervisor = this.#supervisor;
    const workers = supervisor.workers().length;
    const heartbeat = new InstanceHeartbeat({
      connection,
      prefix: redis.prefix,
      workers,
      assumedWorkers: () => this.#settings().rateLimit.instances * workers,
      onChange: (count) => supervisor.broadcast({ type: 'store-workers', count }),
      clock: systemClock,
      logger: this.#logger,
    });
    this.#heartbeat = heartbeat;
    this.#lifecycle.onClose('the heartbeat', () => heartbeat.close());
    heartbeat.start();
  }

  #rollOut(revision: Revision, streams: ClientStreams, links = this.#supervisor.links()): Promise<void> {
    const clientsKnown = (link: WorkerLink): boolean => streams.knows(link);
    return rollOut(revision, { links, registry: this.#registry, clientsKnown, logger: this.#logger });
  }

  /** The settings in force; a reload replaces them. */
  #settings = (): Settings => this.#options.settings;

  #reload: () => void = () => this.#logger.warn('nothing to reload yet');

  #onMessage(link: WorkerLink, message: WorkerMessage): void {
    if (message.type === 'report') this.#collector.applyDelta(link.pid, message.report.metrics);
    else if (message.type === 'bucket-takes')
      void this.#bucketHost.answer(message, (reply) => link.send(reply));
    else if (message.type === 'backend-failure') {
      this.#registry.recordTrafficFailure(message.pool, message.backend, message.detail);
    }
  }

  async #listenAdmin(services: AdminServices): ReturnType<typeof startAdminServer> {
    const { admin } = this.#options.settings;
    const giveUpAtMs = systemClock.monotonicMs() + BUSY_PORT_MS;
    for (;;) {
      try {
        return await startAdminServer(admin, services);
      } catch (thrown) {
        const busy = [thrown, toError(thrown).cause].some((error) => systemCodeOf(error) === 'EADDRINUSE');
        if (
          !busy ||
          systemClock.monotonicMs() + BUSY_PORT_RETRY_MS > giveUpAtMs ||
          this.#phase !== 'starting'
        ) {
          throw thrown;
        }
        this.#logger.warn(
          { address: `${admin.host}:${admin.port}` },
          'the admin address is busy, trying again',
        );
        await new Promise((resolve) => setTimeout(resolve, BUSY_PORT_RETRY_MS));
      }
    }
  }

  /** null: stopped before the workers were there. */
  async #startWorkers(): Promise<string[] | null> {
    const { accept, listen } = this.#options.settings;
    await removeDeadSockets(listen, this.#logger);
    if (this.#phase !== 'starting') return null;
    try {
      if (accept === 'reuse_port') await this.#openSockets();
      const addresses = await this.#supervisor.start();
      this.#sockets?.unlock();
      return addresses;
    } catch (thrown) {
      if (this.#phase !== 'starting' && thrown instanceof LbError && thrown.code === 'worker_gone')
        return null;
      throw thrown;
    }
  }

  async #openSockets(): Promise<void> {
    const { listen } = this.#options.settings;
    const sockets = await ListenSockets.open({
      listen,
      workerCount: this.#supervisor.workers().length,
      clock: systemClock,
      logger: this.#logger,
      busyPortMs: BUSY_PORT_MS,
      busyPortRetryMs: BUSY_PORT_RETRY_MS,
      stopped: () => this.#phase !== 'starting',
    });
    this.#sockets = sockets;
    this.#lifecycle.onClose('the listening sockets', () => sockets.close());
  }

  #sayReady(addresses: string[], admin: string): void {
    this.#phase = 'ready';
    const { settings } = this.#options;
    const workers = this.#supervisor.workers().length;
    const { wire, engine } = this.#dataPath;
    const facts = { addresses, admin, workers };
    if (settings.log.format === 'pretty') this.#logger.info(facts, 'ready');
    // For programs that wait for it: JSON whatever the format.
    this.#lines.write(`${JSON.stringify({ msg: 'ready', ...facts, wire, engine })}\n`);
  }

  async #drain(signal: NodeJS.Signals): Promise<void> {
    const { drainGraceMs, drainMs } = this.#settings().timeouts;
    this.#phase = 'draining';
    this.#logger.info({ signal, drainGraceMs, drainMs }, 'draining');
    // Nobody is replaced any more, and what a worker closes must be closed then.
    this.#sockets?.close();
    const { killedCount } = await this.#supervisor.drain({ graceMs: drainGraceMs, drainMs });
    if (killedCount > 0)
      this.#logger.warn({ workers: killedCount }, 'workers were killed at the end of the drain');
    this.#stopped.resolve(0);
  }

  async #stopNow(signal: NodeJS.Signals): Promise<void> {
    this.#logger.warn({ signal }, 'second signal: stopping at once');
    await this.#supervisor.stopNow();
    // No clean-up that could take its time: whoever signals twice wants an end.
    process.exit(1);
  }
}
