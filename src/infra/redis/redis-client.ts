/**
 * Clients of ioredis for the three kinds of deployment. What they have in common: a command is sent at most once, at once
 * or not at all. A node of a Cluster that answers MOVED or ASK has not run the command, so following it is no second
 * time, and neither is what a caller does about TRYAGAIN; a connection that closed leaves that open, so such a command
 * is given up.
 */
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { RedisServers } from '../../contract/settings.ts';
import type { LuaScript } from './lua-scripts.ts';
import { isTryAgain } from './redis-refusals.ts';

/**
 * ioredis 6 has a subclass of String. V8 turns String.prototype into a hash table when one is made, and then looks up
 * every method of every string at each call, in optimized code too: 2 % of a worker's time. A walk over a String object
 * turns it back.
 */
for (const _ in new String('')) break;

const CONNECT_TIMEOUT_MS = 1_000;
/** A connection silent for so long with commands pending is dead: longer than any deadline, shorter than TCP's. */
const SILENCE_TIMEOUT_MS = 1_500;
const KEEP_ALIVE_DELAY_MS = 10_000;
const FIRST_RETRY_MS = 50;
/** Longest pause between two attempts to connect. */
export const MAX_RETRY_MS = 1_000;
const RETRY_JITTER_MS = 100;
const MAX_RETRY_DOUBLINGS = 5;
/** How old the map of a Cluster may get; a MOVED renews it too. */
const SLOTS_REFRESH_MS = 1_000;
const MAX_REDIRECTIONS = 4;
const DEFAULT_PORT = 6379;
const DEFAULT_SENTINEL_PORT = 26_379;

interface ClientOptions {
  servers: RedisServers;
  /** Shown by CLIENT LIST, e.g. `sluice-w3`. */
  connectionName: string;
  /** Commands by name. Only here: one defined later breaks ioredis (redis/ioredis#1931). */
  scripts: Record<string, LuaScript>;
  random: () => number;
}

/** retryDelayMs is the pause before attempt 1, 2, …: at most MAX_RETRY_MS + RETRY_JITTER_MS. */
export function retryDelayMs(attempt: number, random: () => number): number {
  const delayMs = FIRST_RETRY_MS * 2 ** Math.min(attempt, MAX_RETRY_DOUBLINGS);
  return Math.min(delayMs, MAX_RETRY_MS) + random() * RETRY_JITTER_MS;
}

/** makeClient is called by RedisConnection; the client connects at once. */
export function makeClient(
  options: ClientOptions,
  reconnectOnError: (error: Error) => boolean | 1 | 2,
): Redis | Cluster {
  const { servers, scripts, random } = options;
  const common = { ...connectionOptions(options), reconnectOnError };
  const retry = (attempt: number): number => retryDelayMs(attempt, random);
  switch (servers.kind) {
    case 'single':
      return new Redis({ ...common, ...placeOf(servers.url, DEFAULT_PORT), scripts, retryStrategy: retry });
    case 'sentinel':
      return new Redis({ ...common, ...sentinelOptions(servers), scripts, retryStrategy: retry });
    case 'cluster':
      return withNodesConnected(
        new Cluster(
          servers.urls.map((url) => addressOf(placeOf(url, DEFAULT_PORT))),
          {
            scripts,
            enableOfflineQueue: false,
            // It asks a node that need not be connected yet, and takes the refusal for a failure of the Cluster.
            enableReadyCheck: false,
            enableAutoPipelining: false,
            clusterRetryStrategy: retry,
            maxRedirections: MAX_REDIRECTIONS,
            // 0: given up. The first would repeat commands that may have run, the second only waits past any deadline.
            retryDelayOnFailover: 0,
            retryDelayOnClusterDown: 0,
            slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
            slotsRefreshInterval: SLOTS_REFRESH_MS,
            redisOptions: { ...common, ...accessOf(placeOf(servers.urls[0] ?? '', DEFAULT_PORT)) },
          },
        ),
      );
  }
}

/** ioredis opens the connection to a node with the first command for it, and would refuse that one. */
function withNodesConnected(cluster: Cluster): Cluster {
  cluster.on('+node', (node: Redis) => {
    // A failure is told by the cluster itself; with the next renewal of its map the node is made anew.
    node.connect().catch(() => undefined);
    withAskingHeard(node);
  });
  withTryAgainTold(cluster);
  return cluster;
}

/**
 * While a slot is on its way both of its nodes refuse a call for several keys that are not all there, and ioredis asks and
 * asks again until any deadline is over. Here the caller hears of it at once: keys that are asked for one by one are served.
 */
function withTryAgainTold(cluster: Cluster): void {
  const handle = cluster.handleError.bind(cluster);
  cluster.handleError = (error, ttl, handlers: { defaults: () => void }) => {
    if (isTryAgain(error)) handlers.defaults();
    else handle(error, ttl, handlers);
  };
}

/**
 * ioredis (6.0.0) sends ASKING before a command that it sends to a slot on its way, and listens to nobody's answer: one that is
 * refused, or lost with its connection, would be an unhandled rejection and end the process. The command itself tells of it.
 */
function withAskingHeard(node: Redis): void {
  const asking = node.asking.bind(node);
  node.asking = () => {
    const sent = asking();
    sent.catch(() => undefined);
    return sent;
  };
}

function connectionOptions({ connectionName }: ClientOptions): RedisOptions {
  return {
    connectionName,
    enableOfflineQueue: false,
    // With 0 a lost connection fails its commands at once instead of sending them again, perhaps twice.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // It has one pipeline in flight per node and makes the others wait; stores send explicit ones.
    enableAutoPipelining: false,
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SILENCE_TIMEOUT_MS,
    keepAlive: KEEP_ALIVE_DELAY_MS,
  };
}

function sentinelOptions(servers: Extract<RedisServers, { kind: 'sentinel' }>): RedisOptions {
  const nodes = servers.urls.map((url) => placeOf(url, DEFAULT_SENTINEL_PORT));
  const { username, password, tls } = nodes[0] ?? {};
  return {
    name: servers.master,
    sentinels: nodes.map(addressOf),
    // The servers behind are watched by these sentinels and guarded like them.
    ...given({ username, password, sentinelUsername: username, sentinelPassword: password }),
    ...(tls === undefined ? {} : { tls, sentinelTLS: tls, enableTLSForSentinelMode: true }),
    sentinelRetryStrategy: (attempt) => retryDelayMs(attempt, Math.random),
    // A switch that it hears of while it is connecting anew would end the client for good (ioredis 6.0.0): a master that
    // died closes its connection, one that was demoted answers READONLY, and both lead to the sentinels.
    failoverDetector: false,
  };
}

interface Place {
  host: string;
  port: number;
  username?: string;
  password?: string;
  db?: number;
  tls?: { servername?: string };
}

/** What a URL says; the configuration has checked it. Certificates are checked against the host's name (rediss://). */
function placeOf(text: string, defaultPort: number): Place {
  const url = new URL(text);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return {
    host,
    port: url.port === '' ? defaultPort : Number(url.port),
    ...given({
      username: decodeURIComponent(url.username),
      password: decodeURIComponent(url.password),
      db: Number(url.pathname.slice(1)),
    }),
    ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
  };
}

function addressOf({ host, port }: Place): { host: string; port: number } {
  return { host, port };
}

function accessOf({ username, password, tls }: Place): RedisOptions {
  return { ...given({ username, password }), ...(tls === undefined ? {} : { tls }) };
}

/** Without what is empty: ioredis takes an empty user name for one. */
function given<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const kept = Object.entries(fields).filter(([, value]) => Boolean(value));
  return Object.fromEntries(kept) as { [K in keyof T]?: NonNullable<T[K]> };
}
