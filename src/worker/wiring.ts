/** The rooms of a worker that serves, built from its first settings: limiter, plan, handler, listeners. */

import type { ApiKeyLookup, ClientLookup } from '../contract/clients.ts';
import type { Clock } from '../contract/clock.ts';
import type { DataPath } from '../contract/data-path.ts';
import {
  FIRST_LISTEN_FD,
  type PrimaryMessage,
  type WorkerMessage,
  type WorkerReport,
} from '../contract/messages.ts';
import type { RedisSettings, WorkerSettings } from '../contract/settings.ts';
import { backendNames } from '../infra/backend-names.ts';
import type { DeadlineWheel } from '../infra/deadline-wheel.ts';
import type { Logger } from '../infra/logging/logger.ts';
import type { WorkerMetrics } from '../infra/metrics.ts';
import type { RedisConnection } from '../infra/redis/redis.ts';
import type { WireMaker } from '../infra/wire/wire.ts';
import { wiresOf } from '../infra/wire/wire-choice.ts';
import { Limiter } from '../limit/limiter/limiter.ts';
import type { BucketStore } from '../limit/store/bucket-store.ts';
import { PrimaryBucketStore } from '../limit/store/primary-bucket-store.ts';
import { bucketScripts, RedisBucketStore } from '../limit/store/redis-bucket-store.ts';
import { Handler } from '../proxy/handler.ts';
import { Plan, type PlanDeps } from '../proxy/plan.ts';
import type { Availability } from './availability.ts';
import type { Engine } from './inbound/engine.ts';
import { type DrainTimes, InboundServer } from './inbound/server.ts';
import { wireEngine } from './inbound/wire/wire-engine.ts';

type SettingsMessage = Extract<PrimaryMessage, { type: 'settings' }>;

export interface RoomsOptions {
  logger: Logger;
  wheel: DeadlineWheel;
  clock: Clock;
  metrics: WorkerMetrics;
  lookup: ClientLookup;
  apiKeys: ApiKeyLookup;
  accessLog: { write(line: string): void };
  availability: Availability;
  workerIndex: number;
  workerCount: number;
  dataPath: DataPath;
  /** See WORKER_INHERITS_ENV. */
  inheritsSockets: boolean;
  send: (message: WorkerMessage) => void;
}

/**
 * Takes over IPC: the primary lives on this machine and its death is seen at once, so silence means an overloaded machine,
 * not a lost store. With 20 ms, as for Redis, bursts over 8 workers on 2 busy cores fell back to local shares.
 */
const PRIMARY_STORE_TIMEOUT_MS = 250;

/** A start waits no longer for Redis; as long as an attempt to connect takes at most. */
const FIRST_CONNECTION_MS = 1_000;

export class WorkerRooms {
  readonly logger: Logger;
  readonly #options: RoomsOptions;
  readonly #planDeps: PlanDeps;
  readonly #store: BucketStore;
  readonly #primaryStore: PrimaryBucketStore | null = null;
  readonly #redis: RedisConnection | null;
  readonly #limiter: Limiter;
  readonly #handler: Handler;
  readonly #server: InboundServer;
  #settings: WorkerSettings;
  /** Workers of all instances that share Redis; null while the primary does not know. */
  #storeWorkers: number | null = null;
  #plan: Plan;

  /** open builds the rooms for the first settings; a worker makes them once. */
  static async open(first: SettingsMessage, options: RoomsOptions): Promise<WorkerRooms> {
    const { redis } = first.settings;
    const wires = wiresOf(options.dataPath.wire);
    const engine = await engineOf(options.dataPath, wires);
    const connection = redis === null ? null : await connectRedis(redis, options);
    return new WorkerRooms(first, options, { wires, engine, connection });
  }

  private constructor(first: SettingsMessage, options: RoomsOptions, { wires, engine, connection }: Doors) {
    const { logger, wheel, clock, metrics, accessLog, send } = options;
    this.logger = logger;
    this.#options = options;
    this.#settings = first.settings;
    const { redis, rateLimit } = first.settings;
    const storeTimeoutMs = redis?.timeoutMs ?? PRIMARY_STORE_TIMEOUT_MS;
    this.#redis = connection;
    if (redis === null || connection === null) {
      this.#primaryStore = new PrimaryBucketStore({ send, clock, timeoutMs: storeTimeoutMs });
      this.#store = this.#primaryStore;
    } else {
      const { prefix, timeoutMs } = redis;
      this.#store = new RedisBucketStore({ connection, prefix, timeoutMs, clock });
    }
    this.#limiter = new Limiter({
      store: this.#store,
      timeoutMs: storeTimeoutMs,
      workers: options.workerCount,
      instances: rateLimit.instances,
      clock,
      metrics,
      logger,
    });
    const onFault = (err: Error): void => logger.error({ err }, 'a backend connection failed unexpectedly');
    this.#planDeps = {
      ...options,
      wires,
      random: Math.random,
      onFault,
    };
    this.#plan = this.#buildPlan(first, null);
    this.#handler = new Handler({
      plan: () => this.#plan,
      limiter: this.#limiter,
      wheel,
      clock,
      metrics,
      logger,
      accessLog,
      random: Math.random,
      onBackendFailure: (pool, backend, detail) => this.#tellFailure(pool, backend, detail),
    });
    this.#server = new InboundServer({
      plan: () => this.#plan,
      handler: this.#handler,
      wheel,
      clock,
      metrics,
      logger,
      engine,
    });
  }

  get settings(): WorkerSettings {
    return this.#settings;
  }

  /** listen opens every address; resolves with the URLs. Throws LbError listen_failed. */
  async listen(): Promise<string[]> {
    // Before the first request: a worker without the store grants its local share on top of what the store grants.
    await this.#redis?.waitForFirstAttempt(FIRST_CONNECTION_MS);
    const addresses: string[] = [];
    let nextFd = FIRST_LISTEN_FD;
    for (const address of this.#settings.listen) {
      const inheritedFd = this.#options.inheritsSockets && address.kind === 'tcp' ? nextFd++ : null;
      addresses.push(await this.#server.listen(address, inheritedFd));
    }
    return addresses;
  }

  /** applySettings swaps in the plan of a revision; requests under way keep the one that they began with. */
  applySettings(message: SettingsMessage): void {
    const previous = this.#plan;
    const next = this.#buildPlan(message, previous);
    this.#settings = message.settings;
    this.#plan = next;
    previous.supersede(next);
    this.logger.level = message.settings.log.level;
  }

  /** applyAvailability follows the primary's word on backends. */
  applyAvailability(): void {
    for (const { poolName, backend } of this.#plan.backends())
      this.#options.availability.apply(poolName, backend);
  }

  /** shareConnections hears the mean over all workers and gives up a surplus. */
  shareConnections(meanConnections: number): void {
    this.#server.shareConnections(meanConnections);
  }

  /** shareStore hears how many workers share Redis. */
  shareStore(storeWorkers: number): void {
    this.#storeWorkers = storeWorkers;
    this.#limiter.shareAmong(storeWorkers);
  }

  /** resetBuckets forgets what is known of buckets that the primary has refilled. */
  resetBuckets(keys: readonly string[]): void {
    for (const key of keys) this.#limiter.resetBucket(key);
  }

  onBucketReplies(message: Extract<PrimaryMessage, { type: 'bucket-replies' }>): void {
    this.#primaryStore?.onReplies(message);
  }

  /** report is the worker's part of what it tells the primary once a second. */
  report(): Omit<WorkerReport, 'metrics' | 'loopDelayP99Ms'> {
    return {
      connections: this.#server.connectionCount,
      requestsTotal: this.#handler.requestsTotal,
      inFlight: this.#handler.requestsInFlight,
      breakerOpen: this.#limiter.breakerOpen,
      backendsInFlight: [...this.#plan.backends()].map(({ poolName, backend }) => ({
        pool: poolName,
        backend: backend.id,
        count: backend.inFlight,
      })),
    };
  }

  /** drain serves on for graceMs, then finishes what is in flight within drainMs, and gives everything back. */
  async drain(times: DrainTimes): Promise<void> {
    await this.#server.drain(times);
    this.#plan.close();
    await this.#limiter.close();
    await this.#store.close();
    await this.#redis?.close();
  }

  /** cut ends every request at once; its access line says `shutdown`. */
  cut(): void {
    this.#server.cut();
  }

  /** stopListening hears, during a drain, that the other workers close their listeners after graceMs. */
  stopListening(graceMs: number): void {
    setTimeout(() => this.#server.stopListening(), graceMs).unref();
  }

  /** The primary counts it as a failed probe. Not where there is no health check, or where a name never resolved. */
  #tellFailure(poolName: string, backendId: string, detail: string): void {
    const pool = this.#settings.pools.find(({ name }) => name === poolName);
    const backend = pool?.backends.find(({ id }) => id === backendId);
    if (!pool?.healthCheck || backend === undefined || !backendNames.knows(backend.host)) return;
    this.#options.send({ type: 'backend-failure', pool: poolName, backend: backendId, detail });
  }

  #buildPlan({ settings, policyVersionUs }: SettingsMessage, previous: Plan | null): Plan {
    const { policies, instances, leases } = settings.rateLimit;
    // Before the plan: its requests ask for the new limits from their first.
    this.#limiter.configure(policies, policyVersionUs);
    this.#limiter.shareAmong(this.#storeWorkers ?? instances * this.#options.workerCount);
    this.#limiter.useLeases(leases);
    const plan = new Plan(settings, previous, this.#planDeps);
    const { availability } = this.#options;
    for (const { poolName, backend } of plan.backends()) availability.apply(poolName, backend);
    const planned = [...plan.backends()].map(({ poolName, backend }) => ({
      pool: poolName,
      backend: backend.id,
    }));
    availability.keepOnly(planned);
    return plan;
  }
}

/** What leads out of a worker. */
interface Doors {
  wires: WireMaker;
  engine: Engine;
  /** null without Redis. */
  connection: RedisConnection | null;
}

/** node's engine is loaded where it is asked for: node:http takes 15 MiB. */
async function engineOf({ engine }: DataPath, wires: WireMaker): Promise<Engine> {
  if (engine === 'wire') return wireEngine(wires);
  const { nodeEngine } = await import('./inbound/node/node-engine.ts');
  return nodeEngine();
}

/** The client is loaded here: it takes 14 MiB, which a worker without Redis spares. */
async function connectRedis(
  { servers }: RedisSettings,
  { logger, workerIndex }: RoomsOptions,
): Promise<RedisConnection> {
  const { RedisConnection } = await import('../infra/redis/redis.ts');
  const connectionName = `sluice-w${workerIndex}`;
  return new RedisConnection({
    servers,
    connectionName,
    scripts: bucketScripts(),
    logger,
    random: Math.random,
  });
}
