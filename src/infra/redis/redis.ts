/**
 * The connection of one process to Redis: to one server, to the master that Sentinel names, or to the nodes of a Cluster.
 * Commands are sent only while the connection is ready; they are never queued and never sent twice. Callers have the deadlines.
 */
import { once } from 'node:events';
import { Cluster, type Redis } from 'ioredis';
import { toError } from '../../contract/errors.ts';
import type { Logger } from '../logging/logger.ts';
import { atMost, withDeadline } from '../with-deadline.ts';
import { ClusterNodes } from './cluster-nodes.ts';
import { type ClientOptions, MAX_RETRY_MS, makeClient } from './redis-client.ts';
import { RedisFailures } from './redis-failures.ts';
import { ReplyWatch } from './reply-watch.ts';

const DEFAULT_CLOSE_MS = 1_000;
/** Different reasons that are told while Redis is away: two servers may fail in turn, each in its own way. */
const MAX_REASONS = 4;

interface RedisConnectionOptions extends ClientOptions {
  logger: Pick<Logger, 'info' | 'warn'>;
  /** Called where a line of the log says that it is up or not; the reason where there is one, which may come later. */
  onState?: (isUp: boolean, reason: string | null) => void;
}

export class RedisConnection {
  /** To be used only while `ready`. */
  readonly client: Redis | Cluster;
  /** null: no Cluster. In a Cluster all keys of a call must have one slot. */
  readonly nodes: ClusterNodes | null;
  readonly #logger: Pick<Logger, 'info' | 'warn'>;
  readonly #onState: (isUp: boolean, reason: string | null) => void;
  /** What the log said last: one line per change and per reason, not per attempt. */
  #reported: 'up' | 'down' | 'read-only' | null = null;
  /** Those that were told since the connection was lost, without numbers. */
  readonly #reasons = new Set<string>();
  #failure: string | null = null;
  readonly #failures: RedisFailures;
  /** Redis refused the database of the URL, so commands would go to another one. */
  #misplaced = false;
  /** After `ready` and, for a Cluster, after all its nodes are connected. */
  #usable = false;
  #closeCount = 0;
  #closing = false;
  #askingRole = false;
  #again: NodeJS.Timeout | undefined;
  readonly #firstAttempt = Promise.withResolvers<void>();
  readonly #firstReady = Promise.withResolvers<void>();
  /** Resolves when there is a connection for the first time; perhaps never. */
  readonly firstReady = this.#firstReady.promise;
  readonly #replies = new ReplyWatch((error) => this.#renew(error));

  /** Connects at once, and tries again until close. */
  constructor(options: RedisConnectionOptions) {
    this.#logger = options.logger;
    this.#onState = options.onState ?? (() => undefined);
    this.#failures = new RedisFailures(options.servers);
    this.client = makeClient(options, (error) => {
      if (!error.message.startsWith('READONLY')) return false;
      this.#report('read-only', error);
      // 1: reconnect, which finds the new master. 2 would also send the command again.
      return 1;
    });
    this.nodes = this.client instanceof Cluster ? new ClusterNodes(this.client) : null;
    this.client.on('ready', () => {
      const closeCount = this.#closeCount;
      void reachedNodes(this.client).then(() => {
        if (closeCount !== this.#closeCount) return;
        this.#usable = true;
        if (this.ready) this.#report('up', null);
        this.#firstAttempt.resolve();
        this.#firstReady.resolve();
      });
    });
    for (const event of ['node error', 'sentinelError'])
      this.client.on(event, (error: Error) => this.#failures.noteNode(error));
    this.client.on('error', (error) => {
      // ioredis reports a refused SELECT, and continues in database 0.
      if ((error as { command?: { name?: unknown } }).command?.name === 'select') this.#misplaced = true;
      this.#report('down', error);
    });
    this.client.on('close', () => {
      this.#misplaced = this.#usable = false;
      this.#closeCount++;
      this.#report('down', null);
      this.#firstAttempt.resolve();
    });
    this.client.on('end', () => this.#beginAgain());
  }

  /** Whether a command would be sent now, to the right database. */
  get ready(): boolean {
    return this.client.status === 'ready' && this.#usable && !this.#misplaced;
  }

  /** Why the last attempt to connect has failed; null: there is a connection, or no reason is known. Holds no secret. */
  get failure(): string | null {
    return this.#failure;
  }

  /**
   * waitForFirstAttempt resolves when the first attempt to connect has succeeded or failed, or after timeoutMs. Until then a
   * worker would decide from its local share.
   */
  async waitForFirstAttempt(timeoutMs: number): Promise<void> {
    await atMost(this.#firstAttempt.promise, timeoutMs);
  }

  /**
   * watchReply returns the reply of a command that was just sent, and reconnects if replies no longer arrive. After READONLY a
   * good reply makes it ask the server for its role.
   *
   * @param slot the slot of the command's keys; only for a Cluster
   */
  watchReply<T>(reply: Promise<T>, slot: number): Promise<T> {
    if (this.nodes === null) this.#replies.watch(reply);
    else this.nodes.watchReply(reply, slot);
    if (this.#reported === 'read-only') reply.then(() => this.#askRole()).catch(() => undefined);
    return reply;
  }

  /** close waits for pending commands, at most timeoutMs. Never rejects. */
  async close(timeoutMs = DEFAULT_CLOSE_MS): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#again);
    if (this.client.status === 'ready') {
      try {
        await withDeadline(this.client.quit(), timeoutMs, 'QUIT to Redis');
      } catch (thrown) {
        this.#logger.info({ err: toError(thrown) }, 'the connection to Redis was cut');
      }
    }
    this.client.disconnect();
    // If ioredis (6.0.0) finishes reading the map after the disconnect, it sets its timer again, and the process never exits.
    if (this.client instanceof Cluster) this.client.refreshSlotsCache = () => undefined;
    // disconnect only half-closes; a frozen server never closes the other half.
    else this.client.stream?.destroy();
  }

  /** disconnect would wait for the other half of a stuck socket. */
  #renew(error: Error): void {
    this.#report('down', error);
    if ('stream' in this.client) this.client.stream?.destroy();
  }

  /** After some replies of sentinels ioredis gives up for good. Here it connects again. */
  #beginAgain(): void {
    if (this.#closing) return;
    this.#again = setTimeout(() => {
      this.client.connect().catch((thrown: unknown) => this.#report('down', toError(thrown)));
    }, MAX_RETRY_MS).unref();
  }

  /** A replica answers reads too, so a good reply does not prove that the server accepts writes. */
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
    this.#onState(true, null);
  }

  #report(state: 'up' | 'down' | 'read-only', error: Error | null): void {
    // While Redis is read-only, connections end without an error because of the reconnects.
    if (this.#closing || (this.#reported === 'read-only' && error === null)) return;
    if (state === 'up') this.#failures.noteNode(null);
    const err = error && this.#failures.tellable(error);
    const reason = err?.message ?? null;
    this.#failure = state === 'up' ? null : (reason ?? this.#failure);
    const isSame = this.#reported === state;
    if (isSame && !(state === 'down' && this.#isNew(reason))) return;
    if (!isSame) this.#reasons.clear();
    if (reason !== null) this.#reasons.add(kindOf(reason));
    this.#reported = state;
    if (state === 'up') this.#logger.info({}, 'connected to Redis');
    else if (state === 'read-only') this.#logger.warn({ err }, 'Redis is read-only, connecting anew');
    else this.#logger.warn({ err }, `${isSame ? 'still ' : ''}no connection to Redis, trying again`);
    this.#onState(state === 'up', reason);
  }

  /** A connection ends without a reason: the attempts that follow have it. */
  #isNew(reason: string | null): boolean {
    return reason !== null && this.#reasons.size < MAX_REASONS && !this.#reasons.has(kindOf(reason));
  }
}

/** Ports and durations may differ from attempt to attempt. */
function kindOf(reason: string): string {
  return reason.replace(/\d+/g, '');
}

/** ioredis' Cluster is ready with its first node, and refuses commands for nodes that are not. */
async function reachedNodes(client: Redis | Cluster): Promise<void> {
  if (!(client instanceof Cluster)) return;
  const nodes = client.nodes('master').map((node) => (node.status === 'ready' ? null : once(node, 'ready')));
  await withDeadline(Promise.all(nodes), MAX_RETRY_MS, 'the nodes of the Cluster').catch(() => undefined);
}
