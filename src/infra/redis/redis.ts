/**
 * The connection to Redis of one process: to one server, to the master that Sentinel names, or to the nodes of a Cluster.
 * Commands are for the moment only: they go out while the connection is ready, are never queued for later and never
 * sent twice; whoever calls has a deadline of its own.
 */
import { once } from 'node:events';
import type { Cluster, Redis } from 'ioredis';
import { toError } from '../../contract/errors.ts';
import type { RedisServers } from '../../contract/settings.ts';
import { withDeadline } from '../lifecycle.ts';
import type { Logger } from '../logging/logger.ts';
import type { LuaScript } from './lua-scripts.ts';
import { MAX_RETRY_MS, makeClient } from './redis-client.ts';
import { ReplyWatch } from './reply-watch.ts';

const DEFAULT_CLOSE_MS = 1_000;

interface RedisConnectionOptions {
  servers: RedisServers;
  /** Shown by CLIENT LIST, e.g. `sluice-w3`. */
  connectionName: string;
  /** Commands by name. Only here: one defined later breaks ioredis (redis/ioredis#1931). */
  scripts: Record<string, LuaScript>;
  logger: Pick<Logger, 'info' | 'warn'>;
  random: () => number;
}

export class RedisConnection {
  /** For stores, which use it while `ready`. */
  readonly client: Redis | Cluster;
  /** Whether the keys of one call must share a hash tag, because others may live on another node. */
  readonly sharded: boolean;
  readonly #logger: Pick<Logger, 'info' | 'warn'>;
  /** One line per change, not one per attempt. */
  #reported: 'up' | 'down' | 'read-only' | null = null;
  /** The database of the URL was refused: this connection would read and write another one. */
  #misplaced = false;
  /** After `ready`; of a Cluster, once its nodes are connected too. */
  #usable = false;
  #reached: Promise<void> = Promise.resolve();
  #closing = false;
  #askingRole = false;
  #again: NodeJS.Timeout | undefined;
  readonly #replies = new ReplyWatch((error) => this.#renew(error));

  /** Connects at once, and again for as long as it takes. */
  constructor(options: RedisConnectionOptions) {
    this.#logger = options.logger;
    this.sharded = options.servers.kind === 'cluster';
    this.client = makeClient(options, (error) => {
      if (!error.message.startsWith('READONLY')) return false;
      this.#report('read-only', error);
      // 1 reconnects after a failover; 2 would also send the command again.
      return 1;
    });
    this.client.on('ready', () => {
      this.#reached = reachedNodes(this.client).then(() => {
        this.#usable = true;
        if (this.ready) this.#report('up', null);
      });
    });
    this.client.on('error', (error) => {
      if (isRefusedSelect(error)) this.#misplaced = true;
      this.#report('down', error);
    });
    this.client.on('close', () => {
      this.#misplaced = this.#usable = false;
      this.#report('down', null);
    });
    this.client.on('end', () => this.#beginAgain());
  }

  /** Whether a command sent now would leave at once, to the right database. */
  get ready(): boolean {
    return this.client.status === 'ready' && this.#usable && !this.#misplaced;
  }

  /**
   * waitForFirstAttempt resolves when the connection is ready, or when it is known that it is not so easy: after a first
   * failure, or timeoutMs. For a worker's start: what it decides before is decided alone.
   */
  async waitForFirstAttempt(timeoutMs: number): Promise<void> {
    if (this.ready) return;
    const settled = Promise.withResolvers<void>();
    const events = ['ready', 'error', 'close'] as const;
    for (const event of events) this.client.once(event, settled.resolve);
    const timer = setTimeout(settled.resolve, timeoutMs);
    await settled.promise;
    clearTimeout(timer);
    await this.#reached;
    for (const event of events) this.client.off(event, settled.resolve);
  }

  /**
   * follow returns the reply of a command that was just sent; where replies no longer come through, it connects anew. The
   * first good one behind a time as a read-only replica is a reason to look whether that is over.
   */
  follow<T>(reply: Promise<T>): Promise<T> {
    this.#replies.follow(reply);
    if (this.#reported === 'read-only') reply.then(() => this.#askRole()).catch(() => undefined);
    return reply;
  }

  /** close lets pending commands finish for at most deadlineMs, then cuts. Never rejects. */
  async close(deadlineMs = DEFAULT_CLOSE_MS): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#again);
    if (this.client.status === 'ready') {
      try {
        await withDeadline(this.client.quit(), deadlineMs, 'QUIT to Redis');
      } catch (thrown) {
        this.#logger.info({ err: toError(thrown) }, 'the connection to Redis was cut');
      }
    }
    this.client.disconnect();
    // disconnect only half-closes, and a frozen server never closes its half; before the first connection there is none.
    if ('stream' in this.client) this.client.stream?.destroy();
  }

  /** Sockets are destroyed: disconnect only half-closes, and would wait for the other half of one that is stuck. */
  #renew(error: Error): void {
    this.#report('down', error);
    const nodes = 'nodes' in this.client ? this.client.nodes('all') : [this.client];
    for (const { stream } of nodes) stream?.destroy();
  }

  /** What ioredis takes for the end, an answer of a sentinel that it cannot use for one, is none while we serve. */
  #beginAgain(): void {
    if (this.#closing) return;
    this.#again = setTimeout(() => {
      this.client.connect().catch((thrown: unknown) => this.#report('down', toError(thrown)));
    }, MAX_RETRY_MS).unref();
  }

  /** A replica answers as well, whatever changes nothing; who it is it says itself. */
  async #askRole(): Promise<void> {
    if (this.#askingRole) return;
    this.#askingRole = true;
    const master = await this.client.info('replication').then(
      (info) => /^role:master/m.test(info),
      () => false,
    );
    this.#askingRole = false;
    if (!master || this.#closing || this.#reported !== 'read-only') return;
    this.#reported = 'up';
    this.#logger.info({}, 'Redis takes writes again');
  }

  #report(state: 'up' | 'down' | 'read-only', error: Error | null): void {
    if (this.#closing || this.#reported === state) return;
    // A connection without an error that ends or begins while Redis is read-only is one that we replaced ourselves.
    if (this.#reported === 'read-only' && error === null) return;
    this.#reported = state;
    if (state === 'up') this.#logger.info({}, 'connected to Redis');
    else if (state === 'read-only') this.#logger.warn({ err: error }, 'Redis is read-only, connecting anew');
    else this.#logger.warn({ err: error }, 'no connection to Redis, trying again');
  }
}

/** The client of a Cluster is ready with its first node; a command for another one would be refused until that is there. */
async function reachedNodes(client: Redis | Cluster): Promise<void> {
  if (!('nodes' in client)) return;
  const nodes = client.nodes('master').map((node) => (node.status === 'ready' ? null : once(node, 'ready')));
  await withDeadline(Promise.all(nodes), MAX_RETRY_MS, 'the nodes of the Cluster').catch(() => undefined);
}

/** ioredis says so and goes on, in database 0. */
function isRefusedSelect(error: Error): boolean {
  const { command } = error as { command?: { name?: unknown } };
  return command?.name === 'select';
}
