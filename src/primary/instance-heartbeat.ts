/**
 * How many workers share the store. Every two seconds each instance writes the number of its workers to Redis and reads the sum of
 * all. Workers divide limits by it while the store is away.
 *
 * A larger sum counts at once. A smaller one counts when every beat has brought one for as long as Redis remembers an instance
 * without a beat. By then a store that was restarted empty, or whose clock was set, has heard everybody again; before, its sum would
 * make every share too large.
 */
import { randomBytes } from 'node:crypto';
import type { Result } from 'ioredis';
import { toError } from '../contract/errors.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { slotOfTag } from '../infra/redis/cluster-slot.ts';
import { type LuaScript, loadLuaScript } from '../infra/redis/lua-scripts.ts';
import type { RedisConnection } from '../infra/redis/redis.ts';
import { withDeadline } from '../infra/with-deadline.ts';
import { instancesKey } from '../limit/bucket/bucket-key.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    beatInstance(key: string, member: string, ttlMs: number): Result<number, Context>;
  }
}

const BEAT_EVERY_MS = 2_000;
/** Three beats that did not come. */
const GONE_AFTER_MS = 6_000;
const BEAT_TIMEOUT_MS = 1_000;
const ID_BYTES = 8;

/** heartbeatScripts are the commands that a RedisConnection needs for this. */
export function heartbeatScripts(): Record<'beatInstance', LuaScript> {
  return { beatInstance: loadLuaScript('beat-instance-1.lua') };
}

export interface InstanceHeartbeatOptions {
  /** Made with heartbeatScripts(); the creator closes it. */
  connection: RedisConnection;
  /** The setting `redis.prefix`. */
  prefix: string;
  /** Of this instance; asked at each beat. */
  workers: () => number;
  /** Assumed until the store answers: `rateLimit.instances` × workers. */
  assumedWorkers: () => number;
  /** Called at each change with the workers of all instances. */
  onChange: (storeWorkers: number) => void;
  logger: Pick<Logger, 'warn'>;
  /** For tests; the same for every instance. */
  everyMs?: number;
  goneAfterMs?: number;
}

/** InstanceHeartbeat is made once per Redis that the primary has open. */
export class InstanceHeartbeat {
  readonly #options: Required<InstanceHeartbeatOptions>;
  readonly #key: string;
  readonly #id = randomBytes(ID_BYTES).toString('hex');
  #storeWorkers: number | null = null;
  /** Since when each beat was answered with a smaller sum; null: the last one was not. */
  #smallerSinceMs: number | null = null;
  #refused = false;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: InstanceHeartbeatOptions) {
    this.#options = { everyMs: BEAT_EVERY_MS, goneAfterMs: GONE_AFTER_MS, ...options };
    this.#key = instancesKey(options.prefix);
  }

  /** With another number of workers it is another one, and the one before is forgotten like an instance that has gone. */
  get #member(): string {
    return `${this.#id} ${this.#options.workers()}`;
  }

  /** The last sum that counted, also while the store is away; null: the store has never answered. */
  get storeWorkers(): number | null {
    return this.#storeWorkers;
  }

  /** start sends the first beat when the connection is ready, a second later at most, and then one every two seconds. Resolves after the first. */
  async start(): Promise<void> {
    await this.#options.connection.waitForFirstAttempt(BEAT_TIMEOUT_MS);
    await this.#beatOn();
  }

  /** close removes this instance from the store if that can be reached. Never rejects. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    if (this.#storeWorkers !== null) await this.#say(0);
  }

  async #beatOn(): Promise<void> {
    if (this.#closed) return;
    const { everyMs, goneAfterMs } = this.#options;
    this.#timer = setTimeout(() => void this.#beatOn(), everyMs).unref();
    const sum = await this.#say(goneAfterMs);
    if (this.#closed) return;
    if (sum === null) this.#smallerSinceMs = null;
    else this.#hear(sum);
  }

  /** null: the store is away, or refuses. */
  async #say(ttlMs: number): Promise<number | null> {
    const { connection, logger } = this.#options;
    if (!connection.ready) return null;
    try {
      const said = connection.client.beatInstance(this.#key, this.#member, ttlMs);
      const reply = connection.watchReply(said, slotOfTag(this.#key));
      const sum = await withDeadline(reply, BEAT_TIMEOUT_MS, 'the heartbeat in Redis');
      this.#refused = false;
      return sum;
    } catch (thrown) {
      // Once per outage. A lost connection has a line of its own; here Redis refuses, as to a user without the right.
      if (!this.#refused && connection.ready)
        logger.warn({ err: toError(thrown) }, 'this instance cannot announce itself in Redis');
      this.#refused = true;
      return null;
    }
  }

  #hear(sum: number): void {
    const { assumedWorkers, goneAfterMs, onChange } = this.#options;
    const nowMs = performance.now();
    const before = this.#storeWorkers ?? assumedWorkers();
    if (sum >= before) this.#smallerSinceMs = null;
    else this.#smallerSinceMs ??= nowMs;
    const counts = this.#smallerSinceMs === null || nowMs - this.#smallerSinceMs >= goneAfterMs;
    const next = counts ? sum : before;
    if (next === this.#storeWorkers) return;
    this.#smallerSinceMs = null;
    this.#storeWorkers = next;
    onChange(next);
  }
}
