/**
 * Makes ioredis clients for the three kinds of deployment. A client sends a command at once or not at all, and never twice: the
 * server may have run it before the connection closed. Only after MOVED, ASK or TRYAGAIN is it certain that it was not run.
 */
import { isIP } from 'node:net';
import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis';
import type { RedisServers } from '../../contract/settings.ts';
import { isTryAgain } from './cluster-slot.ts';
import type { LuaScript } from './lua-scripts.ts';

/**
 * ioredis 6 defines a subclass of String, which turns String.prototype into a hash table: V8 then looks up each string method
 * at each call, 2 % of a worker's time. An iteration over a String object reverts that.
 */
for (const _ in new String('')) break;

const CONNECT_TIMEOUT_MS = 1_000;
/** From the TCP connection until the client is ready. */
const HANDSHAKE_TIMEOUT_MS = 1_500;
const KEEP_ALIVE_DELAY_MS = 10_000;
const FIRST_RETRY_MS = 50;
/** The longest pause between two attempts to connect. */
export const MAX_RETRY_MS = 1_000;
const RETRY_JITTER_MS = 100;
const MAX_RETRY_DOUBLINGS = 5;
/** The map of slots is read again this often, and after a MOVED. */
const SLOTS_REFRESH_MS = 1_000;
const MAX_REDIRECTIONS = 4;
const DEFAULT_PORT = 6379;
const DEFAULT_SENTINEL_PORT = 26_379;

const COMMON_OPTIONS: RedisOptions = {
  enableOfflineQueue: false,
  // 0: a lost connection fails its commands at once, instead of sending them again.
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  // With it only one pipeline per node would be under way, and the others would wait.
  enableAutoPipelining: false,
  connectTimeout: CONNECT_TIMEOUT_MS,
  keepAlive: KEEP_ALIVE_DELAY_MS,
};

export interface ClientOptions {
  servers: RedisServers;
  /** Shown by CLIENT LIST, e.g. `sluice-w3`. */
  connectionName: string;
  /** Commands by name. A command that is defined later breaks ioredis (redis/ioredis#1931). */
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
    const client = withHandshakeDeadline(new Redis({ ...common, ...place, scripts, retryStrategy }));
    return servers.kind === 'single' ? client : withSentinelsHeard(client);
  }
  const places = servers.urls.map((url) => placeOf(url, DEFAULT_PORT));
  const options: ClusterOptions = {
    scripts,
    // ioredis would replace a host name with its address, but a certificate has the name.
    dnsLookup: (host, callback) => callback(null, host),
    enableOfflineQueue: false,
    // The check may ask a node that is not connected, and then considers the Cluster as failed.
    enableReadyCheck: false,
    enableAutoPipelining: false,
    clusterRetryStrategy: retryStrategy,
    maxRedirections: MAX_REDIRECTIONS,
    // 0: never. The first repeats commands that may have run, the second waits past any deadline.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
    slotsRefreshInterval: SLOTS_REFRESH_MS,
    redisOptions: { ...common, ...accessOf(places[0]) },
  };
  return withNodesConnected(new Cluster(places.map(addressOf), options));
}

/**
 * Without it a server that accepts connections and says nothing would hold the client for ever. (ioredis' socketTimeout takes
 * a stall of this process for silence of the server.)
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

/** ioredis ignores why a sentinel cannot be reached, and says that the connection is closed. Here the client tells it, as a Cluster's does. */
function withSentinelsHeard(client: Redis): Redis {
  // The types of ioredis hide it; test/redis/redis-failures.test.ts tells when another version has none.
  const { connector } = client as unknown as {
    connector: { connectToSentinel: (...place: unknown[]) => Redis };
  };
  const dial = connector.connectToSentinel.bind(connector);
  connector.connectToSentinel = (...place) =>
    dial(...place).on('error', (error) => client.emit('node error', error));
  // As in the constructor of a client that is not lazy: an error is also an event.
  client.connect().catch(() => undefined);
  return client;
}

/** ioredis connects to a node at its first command, and refuses that command. Here nodes are connected at once. */
function withNodesConnected(cluster: Cluster): Cluster {
  cluster.on('+node', (node: Redis) => {
    const { host = '', tls } = node.options;
    if (tls !== undefined) node.options.tls = { ...tls, ...serverNameOf(host) };
    // The Cluster reports the failure, and makes a new node when it next reads the map.
    node.connect().catch(() => undefined);
    withAskingHeard(node);
    withMapReadInPlace(node);
    withHandshakeDeadline(node);
  });
  withTryAgainTold(cluster);
  return cluster;
}

/**
 * While a slot migrates, both of its nodes refuse a call whose keys are not all there, and ioredis would repeat it past any
 * deadline. Here the caller gets the refusal at once, and can send the keys one by one.
 */
function withTryAgainTold(cluster: Cluster): void {
  const handle = cluster.handleError.bind(cluster);
  cluster.handleError = (error, ttl, handlers: { defaults: () => void }) => {
    if (isTryAgain(error)) handlers.defaults();
    else handle(error, ttl, handlers);
  };
}

/**
 * ioredis (6.0.0) sends ASKING before a command for a migrating slot and ignores the result. A refusal or a lost connection
 * would be an unhandled rejection, which ends the process. The command itself reports the failure.
 */
function withAskingHeard(node: Redis): void {
  const asking = node.asking.bind(node);
  node.asking = () => {
    const sent = asking();
    sent.catch(() => undefined);
    return sent;
  };
}

/**
 * ioredis reads the map of slots on a new connection each time, because one that waits for BLPOP would not answer. None does here,
 * so the node's own is lent for it. With TLS an idle process costs a Cluster 0.4 ms of CPU a second then, and with new connections 1.2.
 */
function withMapReadInPlace(node: Redis): void {
  const duplicate = node.duplicate.bind(node);
  const reader: Redis = Object.create(node);
  reader.cluster = node.cluster.bind(node);
  reader.on = () => reader;
  reader.disconnect = () => undefined;
  node.duplicate = (options) => (node.status === 'ready' ? reader : duplicate(options));
}

function sentinelOptions(servers: Extract<RedisServers, { kind: 'sentinel' }>): RedisOptions {
  const nodes = servers.urls.map((url) => placeOf(url, DEFAULT_SENTINEL_PORT));
  const { username, password, tls } = nodes[0] ?? {};
  return {
    name: servers.master,
    // withSentinelsHeard connects.
    lazyConnect: true,
    sentinels: nodes.map(addressOf),
    // The sentinels and their servers have the same user and password.
    ...given({ username, password, sentinelUsername: username, sentinelPassword: password }),
    ...(tls === undefined ? {} : { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true }),
    sentinelRetryStrategy: (attempt) => retryDelayMs(attempt),
    // With it a failover during a reconnect ends the client for good (ioredis 6.0.0). It is not needed: a dead
    // master closes its connection, a demoted one answers READONLY, and then the client asks the sentinels.
    failoverDetector: false,
    // After that the next sentinel is asked, if one accepts the connection and says nothing.
    sentinelCommandTimeout: CONNECT_TIMEOUT_MS,
  };
}

type Place = { host: string; port: number } & Pick<RedisOptions, 'username' | 'password' | 'db' | 'tls'>;

/** The parts of a URL, which the configuration has checked. With rediss:// the certificate must match the host. */
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

/** SNI takes a host name, not an address (RFC 6066 §3). */
function serverNameOf(host: string): { servername?: string } {
  return isIP(host) === 0 ? { servername: host } : {};
}

function addressOf({ host, port }: Place): { host: string; port: number } {
  return { host, port };
}

/** What all nodes of a Cluster have in common. Each gets its own name for TLS when it is made. */
function accessOf({ username, password, tls }: Partial<Place> = {}): RedisOptions {
  return { ...given({ username, password }), ...(tls === undefined ? {} : { tls: {} }) };
}

/** Drops empty fields: ioredis would send an empty username. */
function given<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const kept = Object.entries(fields).filter(([, value]) => Boolean(value));
  return Object.fromEntries(kept) as { [K in keyof T]?: NonNullable<T[K]> };
}
