/** Opens listening sockets, and closes them without losing those who wait in their queues; for the workers and the primary. */
import { once } from 'node:events';
import { lstatSync } from 'node:fs';
import { type Server, Socket, type SocketConstructorOpts } from 'node:net';
import { dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { addressText, addressUrl } from '../contract/addresses.ts';
import { systemClock } from '../contract/clock.ts';
import { LbError, systemCodeOf, toError } from '../contract/errors.ts';
import type { ListenAddress } from '../contract/settings.ts';
import { isAbsent } from './folders.ts';

/** The kernel resets a connection that comes between the last look into the queue and the close, so the last turn must be short. */
const SHORT_TURN_MS = 1;
/** A drain empties the accept queues for at most this long: without a bound, new connections would keep the listeners open. */
export const QUEUE_REST_MS = 1_000;

/**
 * Connections that wait to be accepted; the kernel caps it by net.core.somaxconn. Above it the kernel drops what comes, and a client tries
 * again after a second: with node's 511, of 1,500 that came during a stall 988 waited longer than 0.9 s, with this none.
 */
const BACKLOG = 4_096;

const MEANINGS: Readonly<Record<string, string>> = {
  EADDRINUSE:
    'another program listens there (is another instance running? stop it, or choose another port in the configuration)',
  EACCES:
    'this user may not listen there (ports below 1024 need CAP_NET_BIND_SERVICE; docs/operating.md says how to give it)',
  EADDRNOTAVAIL: 'this machine has no such address',
};

/**
 * openListener makes a server listen and returns its URL, with the real port where 0 was asked for. Throws what listenFailure makes.
 *
 * @param bound a socket that another process bound (its descriptor, or socketOf), and that this server closes; null: the server
 *   binds one
 */
export async function openListener(
  server: Server,
  address: ListenAddress,
  bound: number | Socket | null = null,
): Promise<string> {
  try {
    // In a cluster, listen({ fd }) means a descriptor of the primary; a socket as handle is this process's own.
    const own = typeof bound === 'number' ? socketOf({ fd: bound }) : bound;
    const host = address.kind === 'unix' || address.host === null ? {} : { host: address.host };
    if (own !== null) server.listen(own, BACKLOG);
    else if (address.kind === 'unix') server.listen({ path: address.path, backlog: BACKLOG });
    else server.listen({ port: address.port, ...host, backlog: BACKLOG });
    await once(server, 'listening');
  } catch (thrown) {
    throw listenFailure(address, thrown);
  }
  return boundUrl(server, address);
}

/**
 * socketOf owns a bound socket until a server listens with it. It never reads: that would accept nothing and fail.
 * @param source a descriptor, or the handle of node's that came with a message
 */
export function socketOf(source: { fd: number } | { handle: unknown }): Socket {
  // Its type knows no handles but those of BoundSocket.
  return new Socket({ ...source, readable: false, writable: false } as SocketConstructorOpts);
}

/** descriptorOf a server that listens, to give it to another process; null: it has none. */
export function descriptorOf(server: Server): number | null {
  return (server as { _handle?: { fd: number } | null })._handle?.fd ?? null;
}

/** boundUrl is addressUrl of a server that listens at the address. */
export function boundUrl(server: Server, address: ListenAddress): string {
  const bound = server.address();
  return addressUrl(address, bound === null || typeof bound === 'string' ? 0 : bound.port);
}

/** A system without IPv6 answers the bind of `::` with one of these. */
const NO_IPV6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL']);

/** bindEverywhere binds `::`, which is every address of IPv4 and IPv6; where the system has no IPv6, every address of IPv4. */
export async function bindEverywhere<T>(bind: (host: string) => T | Promise<T>): Promise<T> {
  try {
    return await bind('::');
  } catch (thrown) {
    if (!NO_IPV6.has(systemCodeOf(thrown) ?? '')) throw thrown;
    return bind('0.0.0.0');
  }
}

/** listenFailure makes an LbError listen_failed, whose cause carries the system's code (EADDRINUSE, EACCES, …). */
export function listenFailure(address: ListenAddress, thrown: unknown): LbError {
  const cause = toError(thrown);
  const code = systemCodeOf(cause);
  const obstacle = address.kind === 'unix' ? obstacleAt(address.path, code) : null;
  const detail = obstacle ?? cause.message;
  const message = listenSentence(addressText(address), obstacle === null ? code : null, detail);
  return new LbError('listen_failed', message, { cause });
}

/** What the system's code does not say: it is EACCES for a missing folder too, and EADDRINUSE for a file of any kind. */
function obstacleAt(path: string, code: string | null): string | null {
  if (isAbsent(dirname(path))) return `there is no folder ${dirname(path)}`;
  if (code === 'EACCES') return `this user may not write into the folder ${dirname(path)}`;
  const isFile = code === 'EADDRINUSE' && lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false;
  return isFile ? 'a file that is no socket is there: remove it, or choose another path' : null;
}

/**
 * listenSentence is the message of a listen_failed. @param where as addressText has it @param code the system's, if it gave one
 * @param detail the system's words, shown for a code without a meaning above
 */
export function listenSentence(where: string, code: string | null, detail: string): string {
  const meaning = MEANINGS[code ?? ''] ?? detail;
  return `cannot listen on ${where}: ${code === null ? '' : `${code}: `}${meaning}`;
}

/**
 * closeListeners closes servers once their queues are empty, or after timeoutMs. Each turn of the loop takes one connection from
 * each queue; a turn that brings none has found them empty. Accepted connections stay as they are.
 */
export async function closeListeners(servers: readonly Server[], timeoutMs: number): Promise<void> {
  if (servers.length === 0) return;
  let acceptedCount = 0;
  const onConnection = (): void => {
    acceptedCount++;
  };
  for (const server of servers) server.on('connection', onConnection);
  const endsAtMs = systemClock.monotonicMs() + timeoutMs;
  // The turn under way may have looked into the queues already.
  await nextTurn();
  for (;;) {
    const turnStartedMs = systemClock.monotonicMs();
    const acceptedBefore = acceptedCount;
    await nextTurn();
    const nowMs = systemClock.monotonicMs();
    const quiet = acceptedCount === acceptedBefore && nowMs - turnStartedMs <= SHORT_TURN_MS;
    if (quiet || nowMs >= endsAtMs) break;
  }
  for (const server of servers) server.close();
}
