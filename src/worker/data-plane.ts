/** What a worker serves with, built from its first settings: limiter, plan, handler and listeners. */
import type { Socket } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import type { Backend } from '../balance/backend.ts';
import { SlowStart } from '../balance/slow-start.ts';
import { addressesByKey } from '../contract/addresses.ts';
import { systemClock } from '../contract/clock.ts';
import type { DataPath } from '../contract/data-path.ts';
import { toError } from '../contract/errors.ts';
import type { ExplainQuery, Explanation } from '../contract/explain.ts';
import { backendKey } from '../contract/health.ts';
import type { PrimaryMessage, WorkerMessage, WorkerPlace } from '../contract/messages.ts';
import { liveSeries } from '../contract/metrics.ts';
import type { WorkerSettings } from '../contract/settings.ts';
import type { TlsMaterial } from '../contract/tls.ts';
import type { TopOrder, TopPart } from '../contract/top-callers.ts';
import { backendNames } from '../infra/backend-names.ts';
import { FaultLog } from '../infra/logging/fault-log.ts';
import { wiresOf } from '../infra/wire/wire-choice.ts';
import type { WireMaker } from '../infra/wire/wire-maker.ts';
import { PrimaryBucketStore } from '../limit/store/primary-bucket-store.ts';
import { Handler } from '../proxy/handler.ts';
import { LiveRequests } from '../proxy/live-requests.ts';
import { Overload } from '../proxy/overload.ts';
import { Plan, type PlanDeps } from '../proxy/plan.ts';
import type { PlannedBackend } from '../proxy/plan-pool.ts';
import type { ProxyDeps } from '../proxy/proxy-deps.ts';
import { RequestAudit } from '../proxy/request-audit.ts';
import type { DrainTimes } from './inbound/drain.ts';
import { http2Engine } from './inbound/h2/http2-engine.ts';
import { wireEngine } from './inbound/http1/wire-engine.ts';
import { type Engine, InboundServer } from './inbound/server.ts';
import { Listening } from './listening.ts';
import { OverloadMonitor } from './overload-monitor.ts';
import { StoreLimiter } from './store-limiter.ts';
import { TraceExport } from './tracing/trace-export.ts';

type SettingsMessage = Extract<PrimaryMessage, { type: 'settings' }>;
/** Named one by one: a new message that nobody handles is then an error of tsc in main.ts. */
type TrafficMessage = Extract<
  PrimaryMessage,
  {
    type:
      | 'connection'
      | 'no-more-connections'
      | 'backends'
      | 'ask-backend'
      | 'bucket-replies'
      | 'bucket-reset'
      | 'fleet'
      | 'watch-requests'
      | 'unwatch-requests'
      | 'store-workers';
  }
>;

interface DataPlaneOptions
  extends WorkerPlace,
    Omit<
      PlanDeps,
      | 'wires'
      | 'limiter'
      | 'tracing'
      | 'slowStart'
      | 'onFault'
      | 'onOpening'
      | 'onConnectFailure'
      | 'onRequestError'
    >,
    Pick<ProxyDeps, 'logger' | 'accessLog' | 'challenges'> {
  /** null where no address has TLS. */
  tls: TlsMaterial | null;
  /** Bound sockets by the key of their address; taken from here when it listens. What comes later is a spare one. */
  sockets: Map<string, Socket[]>;
  /** As PrimaryLink has it. */
  send: (message: WorkerMessage, onLeft?: () => void) => boolean;
}

export class DataPlane {
  /** Those of the plan in force. */
  settings: WorkerSettings;
  /** main.ts asks it when the primary is lost. */
  readonly listening: Listening;
  readonly #options: DataPlaneOptions;
  readonly #planDeps: Omit<PlanDeps, 'limiter' | 'tracing'>;
  readonly #primaryStore: PrimaryBucketStore;
  #store: StoreLimiter;
  /** null: there are no traces. */
  #tracing: TraceExport | null;
  /** Those of older plans, to which their requests still go. */
  readonly #formerTracing: TraceExport[] = [];
  readonly #overload: OverloadMonitor;
  readonly #handler: Handler;
  /** main.ts stops it when the primary is lost. */
  readonly live: LiveRequests;
  readonly #audit: RequestAudit;
  readonly #server: InboundServer;
  #plan: Plan;
  /** Older plans that may still have requests. */
  #retired: Plan[] = [];
  readonly #failureLog = new FaultLog(systemClock, (facts) =>
    this.#options.logger.warn(facts, 'a connection to a backend failed'),
  );
  /** Failures that the primary was told since the last report, by backendKey. */
  readonly #failureCounts = new Map<string, number>();

  /** open builds everything but the listeners; main.ts calls it once, with the first settings. */
  static async open(first: SettingsMessage, options: DataPlaneOptions): Promise<DataPlane> {
    const wires = wiresOf(options.dataPath.wire);
    const engine = await engineOf(options.dataPath, wires);
    const http2 = http2Engine({ ...options, wires });
    const primaryStore = new PrimaryBucketStore(options.send);
    const store = await StoreLimiter.open(first.settings.redis, null, { ...options, primaryStore });
    const tracing = await TraceExport.open(first.settings.tracing, options);
    return new DataPlane(first, { ...options, wires, engine, http2, tracing }, primaryStore, store);
  }

  private constructor(
    first: SettingsMessage,
    options: DataPlaneOptions & {
      wires: WireMaker;
      engine: Engine;
      http2: Engine;
      tracing: TraceExport | null;
    },
    primaryStore: PrimaryBucketStore,
    store: StoreLimiter,
  ) {
    const { logger, send } = options;
    this.#options = options;
    this.settings = first.settings;
    this.#primaryStore = primaryStore;
    this.#store = store;
    this.#tracing = options.tracing;
    this.#planDeps = {
      ...options,
      onFault: (err) => logger.error({ err }, 'a backend connection failed unexpectedly'),
      slowStart: new SlowStart(options.timer),
      onOpening: () => this.listening.opened(),
      onConnectFailure: (pool, backend, detail) => this.#tellConnectFailure(pool, backend, detail),
      onRequestError: (error) => send({ type: 'request-error', ...error }),
    };
    this.#plan = this.#makePlan(first, null);
    const plan = (): Plan => this.#plan;
    const overload = new Overload(options.metrics);
    this.#overload = new OverloadMonitor(overload, logger, () => this.settings.overload);
    this.#overload.start();
    this.live = new LiveRequests(send);
    this.#audit = new RequestAudit(options);
    this.#handler = new Handler({ ...options, plan, overload, live: this.live, audit: this.#audit });
    this.#server = new InboundServer({
      ...{ ...options, plan, overload, handler: this.#handler },
      onAdmitted: () => this.listening.opened(),
      endDeal: () => this.listening.endDeal(),
    });
    this.listening = new Listening({
      ...{ ...options, server: this.#server, handler: this.#handler },
      addresses: () => addressesByKey(this.settings.listen),
      backends: () => this.#allBackends(),
    });
    if (options.tls !== null) this.useTls(options.tls);
  }

  /** listen opens every address. Throws LbError listen_failed. */
  listen(): Promise<void> {
    // Without the store this worker would grant its local share on top of what others get from the store.
    return this.listening.open(this.#store.connected());
  }

  /** useTls replaces the certificates and ticket keys of every address; see InboundServer. */
  useTls(material: TlsMaterial): void {
    this.#server.useTls(material);
  }

  /**
   * applySettings swaps in the plan of a later revision, at once, or as soon as it has a connection to another bucket store; requests
   * under way keep theirs. Resolves when it listens where the revision says.
   */
  async applySettings(message: SettingsMessage): Promise<void> {
    const { redis } = message.settings;
    const former = this.#store;
    let store = former;
    if (!former.isFor(redis)) {
      store = await StoreLimiter.open(redis, former, { ...this.#options, primaryStore: this.#primaryStore });
      await store.connected();
    }
    const formerTracing = this.#tracing;
    let tracing = formerTracing;
    if (!isDeepStrictEqual(formerTracing?.settings ?? null, message.settings.tracing))
      tracing = await TraceExport.open(message.settings.tracing, this.#options);
    // Nothing is awaited from here on: a reset of a bucket is for the limiter that the plan in force asks.
    this.#store = store;
    this.#tracing = tracing;
    const previous = this.#plan;
    const next = this.#makePlan(message, previous);
    this.settings = message.settings;
    this.#plan = next;
    previous.supersede(next);
    this.#retired.push(previous);
    if (former !== this.#store) void former.retire();
    if (formerTracing !== null && formerTracing !== this.#tracing) this.#formerTracing.push(formerTracing);
    return this.listening.follow();
  }

  /** receive acts on a message about traffic. @param connection that of a `connection`; null: it was lost on the way */
  receive(message: TrafficMessage, connection: Socket | null): void {
    switch (message.type) {
      case 'connection':
        this.listening.take(message.address, connection);
        break;
      case 'no-more-connections':
        this.listening.dealEnded();
        break;
      case 'backends':
        this.#plan.learn(message);
        break;
      case 'ask-backend':
        this.#options.send({ type: 'backend-results', id: message.id, ...this.#resultsOf(message) });
        break;
      case 'bucket-replies':
        this.#primaryStore.onReplies(message);
        break;
      case 'bucket-reset':
        for (const key of message.keys) this.#store.limiter.resetBucket(key);
        break;
      case 'fleet':
        this.#server.shareConnections(message.meanConnections);
        break;
      case 'watch-requests':
        this.live.watch(message.id, message.filter);
        break;
      case 'unwatch-requests':
        this.live.unwatch(message.id);
        break;
      case 'store-workers':
        this.#store.limiter.shareAmong(message.count);
    }
  }

  #resultsOf({ pool, backend }: { pool: string; backend: string }) {
    const { lastOkMs = Number.NEGATIVE_INFINITY, errorsMs = [] } = this.#plan.find(pool, backend) ?? {};
    const nowMs = systemClock.monotonicMs();
    const okAgoMs = Number.isFinite(lastOkMs) ? nowMs - lastOkMs : null;
    return { okAgoMs, errorsAgoMs: errorsMs.map((atMs) => nowMs - atMs) };
  }

  /** tunnels is a page of the list of open tunnels. */
  tunnels({ after, limit }: { after: number; limit: number }) {
    return this.#handler.tunnels.page(after, limit);
  }

  /** explain never throws: a bug in it must not end the worker. null: it has one. */
  explain(query: ExplainQuery): Explanation | null {
    try {
      return this.#handler.explain(query);
    } catch (thrown) {
      this.#options.logger.error({ err: toError(thrown) }, 'a request cannot be explained');
      return null;
    }
  }

  /** topCallers answers `list-top`. */
  topCallers(by: TopOrder): TopPart {
    return this.#handler.callers.top(by, systemClock.monotonicMs());
  }

  /** report is the traffic part of the report to the primary. */
  report() {
    this.#forgetRetired();
    this.#handler.callers.advance(systemClock.monotonicMs());
    this.#failureCounts.clear();
    return {
      connections: this.#server.connectionCount,
      connectionsByProtocol: this.#server.connectionsByProtocol(),
      requestsTotal: this.#handler.traffic.total,
      inFlight: this.#handler.traffic.inFlight,
      tunnels: this.#handler.tunnels.openCount,
      loopDelayMaxMs: this.#overload.takeMaxDelayMs(),
      overload: this.#overload.level,
      overloadReason: this.#overload.reason,
      breakerOpen: this.#store.limiter.breakerOpen,
      exemplars: this.#tracing?.takeExemplars() ?? [],
      backendsInFlight: [...this.#plan.backends()].map(({ poolName, backend }) => ({
        pool: poolName,
        backend: backend.id,
        count: backend.inFlight,
      })),
    };
  }

  /** Those of the plan in force, and of older plans that may still have requests; one that a plan took over is there once. */
  #allBackends(): Iterable<PlannedBackend> {
    if (this.#retired.length === 0) return this.#plan.backends();
    return new Set([...this.#retired, this.#plan].flatMap((plan) => [...plan.backends()]));
  }

  /** Drops the series of what only older plans had, once none of their requests can count any more. */
  #forgetRetired(): void {
    if (this.#retired.length === 0) return;
    this.#retired = this.#retired.filter((plan) => !plan.isOver);
    if (this.#retired.length > 0) return;
    this.#options.metrics.keepOnly(liveSeries(this.settings));
    for (const tracing of this.#formerTracing.splice(0)) void tracing.close();
  }

  /** drain serves on for graceMs, finishes what is in flight within drainMs, and closes everything. */
  async drain(times: DrainTimes): Promise<void> {
    await this.#server.drain(times);
    this.#audit.flush();
    const { unheardRows: rows } = this.#audit;
    if (rows > 0)
      this.#options.logger.warn({ rows }, 'requests are missing in the audit: there was no primary');
    this.#plan.close();
    await this.#store.close();
    await Promise.all([...this.#formerTracing, this.#tracing].map((tracing) => tracing?.close()));
  }

  /** cut ends every request at once; their access lines say `shutdown`. */
  cut(): void {
    this.#server.cut();
  }

  /** hurry is called in a worker that drains when the others begin to drain, too; see InboundServer. */
  hurry(graceMs: number): void {
    setTimeout(() => this.#server.hurry(), graceMs).unref();
  }

  /**
   * Logs it, and tells the primary, which counts it as a failed probe. A name that never resolved is not reported: it says
   * nothing about the backend. Nor is a server that a reload has replaced: its id belongs to another one.
   */
  #tellConnectFailure(poolName: string, failed: Backend, detail: string): void {
    const { id: backendId, host } = failed;
    const facts = { pool: poolName, backend: backendId, detail };
    this.#failureLog.note(`${poolName} ${backendId} ${detail}`, facts);
    const pool = this.settings.pools.find(({ name }) => name === poolName);
    if (!pool?.healthCheck || this.#plan.find(poolName, backendId) !== failed) return;
    if (!backendNames.knows(host)) return;
    // `fall` of them take the backend down. In an outage every request fails, and to hear of each would keep the primary busy.
    const key = backendKey(poolName, backendId);
    const count = (this.#failureCounts.get(key) ?? 0) + 1;
    if (count > pool.healthCheck.fall) return;
    this.#failureCounts.set(key, count);
    this.#options.send({ type: 'connect-failure', pool: poolName, backend: backendId, detail });
  }

  #makePlan(message: SettingsMessage, previous: Plan | null): Plan {
    const { settings, policyVersionUs, storeWorkers } = message;
    // Before the plan: its first request needs the new limits.
    const { limiter } = this.#store;
    limiter.configure(settings.rateLimit, policyVersionUs);
    limiter.shareAmong(storeWorkers ?? settings.rateLimit.instances * settings.workers);
    const deps = { ...this.#planDeps, limiter, tracing: this.#tracing, workerCount: settings.workers };
    const plan = new Plan(settings, previous, deps);
    plan.learn(message, false);
    return plan;
  }
}

/** node:http takes 15 MiB, so it is loaded only where it is asked for. */
async function engineOf({ engine }: DataPath, wires: WireMaker): Promise<Engine> {
  if (engine === 'wire') return wireEngine(wires);
  const { nodeEngine } = await import('./inbound/node/node-engine.ts');
  return nodeEngine();
}
