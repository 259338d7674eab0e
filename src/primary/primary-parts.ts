/** The parts of the primary: each is made when those that it needs are there, and is registered to be closed before them. */

import { systemClock } from '../contract/clock.ts';
import type { FileProblem } from '../contract/config-file-view.ts';
import type { DataPath } from '../contract/data-path.ts';
import type { PrimaryMessage } from '../contract/messages.ts';
import type { Settings } from '../contract/settings.ts';
import type { Lifecycle } from '../infra/lifecycle.ts';
import type { ProcessLog } from '../infra/logging/process-log.ts';
import type { Database } from '../infra/postgres/postgres.ts';
import type { ProcessSignals } from '../infra/process-signals.ts';
import { chooseDataPath } from '../infra/wire/wire-choice.ts';
import { MemoryBucketStore } from '../limit/store/memory-bucket-store.ts';
import { AcmeService } from './acme/acme-service.ts';
import { AdminPort } from './admin/admin-port.ts';
import type { AdminParts, Phase } from './admin/parts.ts';
import { AuditWriter } from './audit/audit-writer.ts';
import { OperatorBuckets } from './buckets/operator-buckets.ts';
import { PrimaryStore } from './buckets/primary-store.ts';
import { PrimaryDirectory } from './clients/primary-directory.ts';
import type { EventLog } from './events/event-log.ts';
import { BackendHealth } from './health/backend-health.ts';
import { type GaugeSources, PrimaryGauges } from './metrics/gauges.ts';
import { MetricsCollector } from './metrics/metrics-collector.ts';
import { Reloader, type ReloaderOptions } from './reloader.ts';
import type { SettingsChange } from './settings-change.ts';
import { orphanFolder, StartupSockets } from './startup-sockets.ts';
import { type BoardSources, StatusBoard } from './status/status-board.ts';
import { openStorage, type Storage } from './storage.ts';
import { Succession } from './succession.ts';
import { warnOfPoolsDaily } from './tls/pool-certificates.ts';
import { TlsKeeper } from './tls/tls-keeper.ts';
import { secretsOf, WorkerBriefing, workerCountOf } from './worker-briefing.ts';
import { receiverOf } from './worker-messages.ts';
import { Explainer } from './workers/explainer.ts';
import { LastSeen } from './workers/last-seen.ts';
import type { ListenSockets } from './workers/listen-sockets.ts';
import { RequestWatch } from './workers/request-watch.ts';
import type { Roll } from './workers/rolling-replacement.ts';
import { Supervisor } from './workers/supervisor.ts';
import { TopCallers } from './workers/top-callers.ts';
import { TunnelList } from './workers/tunnel-list.ts';

export interface PrimaryOptions {
  settings: Settings;
  /** What `check` says about them; logged. */
  warnings: readonly FileProblem[];
  /** Read again by every reload. */
  configPath: string;
  /** Of its text, as it was read for the start. */
  digest: string;
  env: NodeJS.ProcessEnv;
  /** Holds the signals that have come since the first line of this process. */
  signals: ProcessSignals;
}

/** What the parts need of the process as a whole. */
interface PrimaryProcess {
  log: ProcessLog;
  events: EventLog;
  lifecycle: Lifecycle;
  phase: () => Phase;
  /** Rejects at the first stop signal. */
  stopping: Promise<never>;
  reload: () => Promise<void>;
}

/** What there is before sockets and workers, as far as a reload changes it. */
type ReloadedState = Pick<
  ReloaderOptions,
  'initial' | 'storage' | 'health' | 'directory' | 'briefing' | 'acme' | 'tls'
>;

const DATABASE_CLOSE_MS = 15_000;
const ACME_CLOSE_MS = 10_000;

/** PrimaryParts is made once by the primary's main. What has not been made yet is null. */
export class PrimaryParts {
  readonly dataPath: DataPath;
  reloader: Reloader | null = null;
  supervisor: Supervisor | null = null;
  succession: Succession | null = null;
  startupSockets: StartupSockets | null = null;
  acme: AcmeService | null = null;
  audit: AuditWriter | null = null;
  readonly #options: PrimaryOptions;
  readonly #process: PrimaryProcess;
  readonly #firstWorkerCount: number;
  readonly #collector = new MetricsCollector();
  #board: StatusBoard | null = null;
  readonly #requestWatch = new RequestWatch((message) => this.supervisor?.broadcast(message));
  /** Where the buckets are without Redis. */
  readonly #memory = new MemoryBucketStore(systemClock);
  /** What a reload needs of the workers. */
  readonly #fleet = {
    resize: (count: number, drainMs: number) => this.supervisor?.resize(count, drainMs),
    links: () => this.supervisor?.everyLink() ?? [],
  };

  constructor(options: PrimaryOptions, process: PrimaryProcess) {
    this.#options = options;
    this.#process = process;
    this.#firstWorkerCount = workerCountOf(options.settings, null);
    this.dataPath = chooseDataPath(globalThis.process.version, options.env);
  }

  /** The settings in force. */
  get settings(): Settings {
    return this.reloader?.current.settings ?? this.#options.settings;
  }

  get workerCount(): number {
    return this.reloader?.current.workerCount ?? this.#firstWorkerCount;
  }

  /**
   * start makes one part after the other. Resolves when all of it serves, with its addresses. A stop signal ends a wait that may be
   * long; a short step runs to its end.
   */
  async start(): Promise<{ addresses: string[]; admin: string }> {
    const state = await this.#openState();
    const { startupSockets, storage, directory, health, briefing, tls, acme, audit } = state;
    const { settings } = this.#options;
    const { lifecycle, log } = this.#process;
    const sockets = await startupSockets.bind();
    lifecycle.onClose('the listening sockets', () => sockets.close());
    await this.#unlessStopped(Promise.resolve());
    const reloader = this.#makeReloader(state, {
      listen: ({ listen }) => sockets.prepare(listen, log.logger),
      redis: ({ redis }) => store.prepare(redis),
      database: ({ database }) => this.#prepareMove(directory.prepare(database), audit),
    });
    const supervisor = this.#makeSupervisor(sockets, briefing, health, audit);
    lifecycle.onClose('the workers', () => supervisor.stopNow());
    this.supervisor = supervisor;
    const { file, firstProbes } = health.open(settings.pools);
    // Their certificates are part of what workers are told first.
    await this.#unlessStopped(acme.configure(settings));
    const workersServe = supervisor.start();
    directory.start();

    const store = await this.#openStore(briefing);
    const buckets = this.#openBuckets(store, storage.database);
    const { registry } = health;
    const shown = {
      directory,
      registry,
      health,
      supervisor,
      reloader,
      store,
      buckets,
      tls,
      acme,
      briefing,
      audit,
    };
    const admin = await this.#openAdmin(shown);
    const revision = () => reloader.current.number;
    this.succession = new Succession({
      ...{ sockets, storage, admin, audit, revision, health: file, logger: log.logger },
    });

    await this.#unlessStopped(workersServe);
    acme.start();
    sockets.unlock();
    await this.#unlessStopped(firstProbes);
    await this.#unlessStopped(startupSockets.relieve());
    return { addresses: sockets.addresses, admin: admin.url };
  }

  /** Claims the addresses, and makes what there is before sockets and workers. */
  async #openState() {
    const { settings, env } = this.#options;
    const { log, events, lifecycle } = this.#process;
    const { logger } = log;
    const startupSockets = new StartupSockets(settings, this.workerCount, logger);
    lifecycle.onClose('what an earlier primary left', () => startupSockets.close());
    this.startupSockets = startupSockets;
    await this.#unlessStopped(startupSockets.claim(env, () => this.#process.phase() === 'draining'));
    const storage = openStorage(settings.database, logger, { purpose: 'sluice serve', lazy: true });
    lifecycle.onClose('the database', () => storage.close(), DATABASE_CLOSE_MS);
    const audit = this.#openAudit(storage);
    const policyVersionUs = await this.#unlessStopped(storage.nowUs());
    const initial = { number: 1, settings, workerCount: this.#firstWorkerCount, policyVersionUs };

    const directory = new PrimaryDirectory({ storage, settings, events, logger });
    lifecycle.onClose('the directory feed', () => directory.feed.close());
    const { database } = settings;
    const links = () => this.supervisor?.links() ?? [];
    const broadcast = (message: PrimaryMessage) => this.supervisor?.broadcast(message);
    const health = new BackendHealth({
      ...{ database, collector: this.#collector, links, broadcast, events, logger },
    });
    lifecycle.onClose('the health of backends', () => health.close());
    const briefing = new WorkerBriefing({ registry: health.registry, directory, initial, logger });
    const tls = this.#openTls(briefing);
    const acme = this.#openAcme(storage.database, briefing, tls);
    return { startupSockets, storage, initial, directory, health, briefing, tls, acme, audit };
  }

  #openAudit(storage: Storage): AuditWriter {
    const { events, log, lifecycle } = this.#process;
    const audit = new AuditWriter({
      ...{ storage, events, collector: this.#collector, logger: log.logger },
      settings: () => this.settings.audit,
    });
    this.audit = audit;
    lifecycle.onClose('the audit', () =>
      audit.close(async (entries) => (await this.succession?.passEvents(entries)) ?? false),
    );
    return audit;
  }

  /** The former database gets a last row, which says why there are no others. */
  async #prepareMove(
    prepared: Promise<SettingsChange | null>,
    audit: AuditWriter,
  ): Promise<SettingsChange | null> {
    const change = await prepared;
    const text = 'clients, keys and the audit move to another database';
    const announce = (): Promise<void> => {
      this.#process.events.record({ kind: 'database', severity: 'info', text });
      return audit.whenWritten('events');
    };
    return change && { ...change, announce };
  }

  #makeReloader(state: ReloadedState, prepare: ReloaderOptions['prepare']): Reloader {
    const { configPath, digest, env } = this.#options;
    const { log, events, lifecycle } = this.#process;
    const reloader = new Reloader({
      ...state,
      ...this.#fleet,
      ...{ configPath, digest, env, prepare, log, events, collector: this.#collector },
      onFileChange: () => void this.#process.reload(),
    });
    this.reloader = reloader;
    lifecycle.onClose('the watch of the configuration', () => reloader.close());
    const stopWarnings = warnOfPoolsDaily(() => reloader.current.settings.pools, events);
    lifecycle.onClose('the warnings of certificates', stopWarnings);
    return reloader;
  }

  /** @param shown what it shows and changes, in part */
  async #openAdmin(
    shown: Omit<
      AdminParts,
      | 'logger'
      | 'events'
      | 'board'
      | 'gauges'
      | 'tunnels'
      | 'explainer'
      | 'topCallers'
      | 'lastSeen'
      | 'requestWatch'
      | 'replaceWorkers'
      | 'phase'
    > &
      Omit<GaugeSources, 'collector' | 'dataPath' | 'droppedLines'> &
      Omit<BoardSources, 'collector' | 'events' | 'storeWorkers' | 'countLostLines' | 'phase'> & {
        briefing: WorkerBriefing;
      },
  ): Promise<AdminPort> {
    const { log, events, lifecycle, phase } = this.#process;
    const [collector, dataPath] = [this.#collector, this.dataPath];
    const droppedLines = () => log.application.droppedCount;
    const gauges = new PrimaryGauges({ ...shown, collector, dataPath, droppedLines });
    const board = new StatusBoard({
      ...{ ...shown, collector, events, phase },
      storeWorkers: () => shown.briefing.storeWorkers,
      countLostLines: () => gauges.countLostLines(),
    });
    this.#board = board;
    lifecycle.onClose('the samples of the status', () => board.close());
    const tunnels = new TunnelList(() => this.supervisor?.links() ?? []);
    const topCallers = new TopCallers(() => this.supervisor?.ratedLinks() ?? []);
    const lastSeen = new LastSeen(() => this.supervisor?.links() ?? []);
    const explainer = new Explainer(() => this.supervisor?.servingLinks() ?? []);
    const replaceWorkers = () => this.replaceWorkers();
    const admin = new AdminPort(this.#options.settings.admin, {
      ...shown,
      logger: log.logger,
      events,
      board,
      gauges,
      tunnels,
      explainer,
      topCallers,
      lastSeen,
      requestWatch: this.#requestWatch,
      replaceWorkers,
      phase,
    });
    lifecycle.onClose('the admin port', () => admin.close());
    await admin.open();
    return admin;
  }

  #openTls(briefing: WorkerBriefing): TlsKeeper {
    const { settings } = this.#options;
    const tell: WorkerBriefing['tellTls'] = (material) => briefing.tellTls(material);
    const tls = new TlsKeeper({ settings, events: this.#process.events, tell });
    this.#process.lifecycle.onClose('the certificates', () => tls.close());
    tls.start();
    return tls;
  }

  #openAcme(database: Database, briefing: WorkerBriefing, tls: TlsKeeper): AcmeService {
    const collector = this.#collector;
    const { events, log } = this.#process;
    const { logger } = log;
    const acme = new AcmeService({
      ...{ database, briefing, collector, events, logger },
      onCertificates: tls.useIssued,
    });
    this.#process.lifecycle.onClose('the orders of certificates', () => acme.close(), ACME_CLOSE_MS);
    this.acme = acme;
    return acme;
  }

  /** Waits for a step of the start, and rejects at once when a stop signal comes. */
  #unlessStopped<T>(step: Promise<T>): Promise<T> {
    return Promise.race([this.#process.stopping, step]);
  }

  #makeSupervisor(
    sockets: ListenSockets,
    briefing: WorkerBriefing,
    health: BackendHealth,
    audit: AuditWriter,
  ): Supervisor {
    const [collector, memory, logger] = [this.#collector, this.#memory, this.#process.log.logger];
    const isDraining = () => this.#process.phase() === 'draining';
    return new Supervisor({
      workerCount: () => this.workerCount,
      dataPath: this.dataPath,
      secrets: () => secretsOf(this.settings),
      log: () => this.settings.log,
      orphanFolder: orphanFolder(this.#options.settings.database),
      watchLoops: this.#options.env.SLUICE_WATCH_LOOPS === '1',
      inheritedBy: (index) => sockets.inheritedBy(index),
      logger: this.#process.log.logger,
      events: this.#process.events,
      prepare: (link) => {
        void link.exited.then(() => this.#collector.forget(link.pid));
        return briefing.brief(link);
      },
      onMessage: receiverOf({
        ...{ sockets, collector, health, memory, audit, logger, isDraining },
        requestWatch: this.#requestWatch,
        onReport: (pid) => this.#board?.reported(pid),
      }),
    });
  }

  /** replaceWorkers replaces them one by one with the code on disk; null: that is under way, or the instance stops. */
  replaceWorkers(): Roll | null {
    return this.supervisor?.replaceWorkers(this.settings.timeouts.drainMs) ?? null;
  }

  async #openStore(briefing: WorkerBriefing): Promise<PrimaryStore> {
    const workers = () => this.workerCount;
    const store = await PrimaryStore.open({
      redis: this.settings.redis,
      memory: this.#memory,
      workers,
      assumedWorkers: () => this.settings.rateLimit.instances * workers(),
      onStoreWorkers: (count) => {
        briefing.storeWorkers = count;
        if (count !== null) this.supervisor?.broadcast({ type: 'store-workers', count });
      },
      events: this.#process.events,
      logger: this.#process.log.logger,
    });
    this.#process.lifecycle.onClose('the bucket store', () => store.close());
    return store;
  }

  #openBuckets(store: PrimaryStore, database: Database): OperatorBuckets {
    const buckets = new OperatorBuckets({
      ...{ store, database, logger: this.#process.log.logger },
      policies: () => this.settings.rateLimit.policies,
      broadcast: (message) => this.supervisor?.broadcast(message),
    });
    this.#process.lifecycle.onClose('the buckets of operators', buckets.close);
    return buckets;
  }
}
