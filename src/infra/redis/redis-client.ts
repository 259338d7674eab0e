/**
 * Clients of ioredis for the three kinds of deployment. They send a command at once or not at all, and never twice: a
 * connection that closed may have run it. Only a node of a Cluster that answers MOVED, ASK or TRYAGAIN has not run it.
 */
import { isIP } from 'node:net';
import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis';
import type { RedisServers } from '../../contract/settings.ts';
import { isTryAgain } from './cluster-slot.ts';
import type { LuaScript } from './lua-scripts.ts';

/**
 * ioredis 6 has a subclass of String, whose making turns String.prototype into a hash table: V8 then looks up
 * each string method at each call, 2 % of a worker's time. Iterating over a String object undoes that.
 */
for (const _ in new String('')) break;

const CONNECT_TIMEOUT_MS = 1_000;
/** From the connection's beginning until it is ready. */
const HANDSHAKE_TIMEOUT_MS = 1_500;
const KEEP_ALIVE_DELAY_MS = 10_000;
const FIRST_RETRY_MS = 50;
/** Longest pause between two attempts to connect. */
export const MAX_RETRY_MS = 1_000;
const RETRY_JITTER_MS = 100;
const MAX_RETRY_DOUBLINGS = 5;
/** Between two looks at the map of slots, which a MOVED renews too. */
const SLOTS_REFRESH_MS = 1_000;
const MAX_REDIRECTIONS = 4;
const DEFAULT_PORT = 6379;
const DEFAULT_SENTINEL_PORT = 26_379;

const COMMON_OPTIONS: RedisOptions = {
  enableOfflineQueue: false,
  // 0: a lost connection fails its commands at once, in place of sending them again.
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  // With it one pipeline per node is under way, and the others wait.
  enableAutoPipelining: false,
  connectTimeout: CONNECT_TIMEOUT_MS,
  keepAlive: KEEP_ALIVE_DELAY_MS,
};

export interface ClientOptions {
  servers: RedisServers;
  /** Shown by CLIENT LIST, e.g. `sluice-w3`. */
  connectionName: string;
  /** Commands by name. Only here: one defined later breaks ioredis (redis/ioredis#1931). */
  scripts: Record<string, LuaScript>;
}

/** retryDelayMs is the pause before attempt 1, 2, …: at most MAX_RETRY_MS + RETRY_JITTER_MS. */
export function retryDelayMs(attempt: number, random = Math.random): number {
  const delayMs = FIRST_RETRY_MS * 2 ** Math.min(attempt, MAX_RETRY_DOUBLINGS);
  return Math.min(delayMs, MAX_RETRY_MS) + random() * RETRY_JITTER_MS;
}

/** makeClient is called by RedisConnection; the client connects at once. */
export function makeClient(
  { servers, connectionName, scripts }: ClientOptions,
  reconnectOnError: (error: Error) => boolean | 1 | 2,
): Redis | Cluster {
  const common = { ...COMMON_OPTIONS, connectionName, reconnectOnError };
  const retryStrategy = (attempt: number): number => retryDelayMs(attempt);
  if (servers.kind !== 'cluster') {
    const place = servers.kind === 'single' ? placeOf(servers.url, DEFAULT_PORT) : sentinelOptions(servers);
    return withHandshakeDeadline(new Redis({ ...common, ...place, scripts, retryStrategy }));
  }
  const places = servers.urls.map((url) => placeOf(url, DEFAULT_PORT));
  const options: ClusterOptions = {
    scripts,
    // ioredis would replace a host's name with its address, and a certificate is issued for the name.
    dnsLookup: (host, callback) => callback(null, host),
    enableOfflineQueue: false,
    // The check asks a node that may not be connected, and takes that for a failure of the Cluster.
    enableReadyCheck: false,
    enableAutoPipelining: false,
    clusterRetryStrategy: retryStrategy,
    maxRedirections: MAX_REDIRECTIONS,
    // 0: never. The first would repeat commands that may have run, the second would wait past any deadline.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
    slotsRefreshInterval: SLOTS_REFRESH_MS,
    redisOptions: { ...common, ...accessOf(places[0]) },
  };
  return withNodesConnected(new Cluster(places.map(addressOf), options));
}

/**
 * A server that takes connections and says nothing would hold one for ever. (Not by ioredis' socketTimeout:
 * it takes a stall of this process for silence of the server.)
 */
function withHandshakeDeadline(client: Redis): Redis {
  client.on('connect', () => {
    const { stream } = client;
    const check = () => {
      if (client.stream !== stream || client.status !== 'connect') return;
      stream.destroy(new Error(`Redis was not ready within ${HANDSHAKE_TIMEOUT_MS} ms of the connection`));
    };
    // After a poll of the sockets: this process may have stood still.
    setTimeout(() => setImmediate(check), HANDSHAKE_TIMEOUT_MS).unref();
  });
  return client;
}

/** ioredis connects to a node with the first command for it, which it refuses. Here nodes are connected at once. */
function withNodesConnected(cluster: Cluster): Cluster {
  cluster.on('+node', (node: Redis) => {
    const { host = '', tls } = node.options;
    if (tls !== undefined) node.options.tls = { ...tls, ...serverNameOf(host) };
    // The Cluster reports the failure, and makes the node anew with the next renewal of its map.
    node.connect().catch(() => undefined);
    withAskingHeard(node);
    withHandshakeDeadline(node);
  });
  withTryAgainTold(cluster);
  return cluster;
}

/**
 * While a slot migrates, both of its nodes refuse a call whose keys are not all there, and ioredis would
 * repeat it until any deadline is over. Here the caller is told at once, and can ask for the keys one by one.
 */
function withTryAgainTold(cluster: Cluster): void {
  const handle = cluster.handleError.bind(cluster);
  cluster.handleError = (error, ttl, handlers: { defaults: () => void }) => {
    if (isTryAgain(error)) handlers.defaults();
    else handle(error, ttl, handlers);
  };
}

/**
 * ioredis (6.0.0) sends ASKING before a command for a migrating slot and ignores the answer. A refusal or a lost connection
 * would be an unhandled rejection and end the process. The command itself reports the failure.
 */
function withAskingHeard(node: Redis): void {
  const asking = node.asking.bind(node);
  node.asking = () => {
    const sent = asking();
    sent.catch(() => undefined);
    return sent;
  };
}

function sentinelOptions(servers: Extract<RedisServers, { kind: 'sentinel' }>): RedisOptions {
  const nodes = servers.urls.map((url) => placeOf(url, DEFAULT_SENTINEL_PORT));
  const { username, password, tls } = nodes[0] ?? {};
  return {
    name: servers.master,
    sentinels: nodes.map(addressOf),
    // The sentinels and the servers that they watch have the same user and password.
    ...given({ username, password, sentinelUsername: username, sentinelPassword: password }),
    ...(tls === undefined ? {} : { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true }),
    sentinelRetryStrategy: (attempt) => retryDelayMs(attempt),
    // With it a failover during a reconnect ends the client for good (ioredis 6.0.0). Without it the client
    // asks the sentinels, too: a dead master closes its connection, a demoted one answers READONLY.
    failoverDetector: false,
    // A sentinel that takes the connection and says nothing must not keep the others from being asked.
    sentinelCommandTimeout: CONNECT_TIMEOUT_MS,
  };
}

type Place = { host: string; port: number } & Pick<RedisOptions, 'username' | 'password' | 'db' | 'tls'>;

/** The parts of a URL that the configuration has checked. With rediss:// the certificate is checked against the host. */
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
    ...(url.protocol === 'rediss:' ? { tls: serverNameOf(host) } : {}),
  };
}

/** TLS names the server (SNI) by its host name; an address is no name (RFC 6066 §3). */
function serverNameOf(host: string): { servername?: string } {
  return isIP(host) === 0 ? { servername: host } : {};
}

function addressOf({ host, port }: Place): { host: string; port: number } {
  return { host, port };
}

/** How all nodes of a Cluster are accessed. Each gets its own name for TLS when it is made. */
function accessOf({ username, password, tls }: Partial<Place> = {}): RedisOptions {
  return { ...given({ username, password }), ...(tls === undefined ? {} : { tls: {} }) };
}

/** Drops empty fields: ioredis would send an empty user name. */
function given<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const kept = Object.entries(fields).filter(([, value]) => Boolean(value));
  return Object.fromEntries(kept) as { [K in keyof T]?: NonNullable<T[K]> };
}
