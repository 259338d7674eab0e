/**
 * How a new primary finds the workers of one that died, its *orphans*: each has two Unix sockets in a folder that the workers and
 * every later primary know. They must never change: an orphan and the new primary may be of different versions.
 *
 * - `PID.control`: the orphan writes its note, a line of JSON, and awaits the line `drain`. The connection stays open until it ends.
 * - `PID.sockets`: each connection gets the listening sockets, one after the other (worker/give-sockets.ts).
 */
import { isIP } from 'node:net';
import { isWildcard } from './addresses.ts';
import type { ListenAddress } from './settings.ts';

export const ORPHAN_CONTROL = '.control';
export const ORPHAN_SOCKETS = '.sockets';
export const ORPHAN_DRAIN = 'drain\n';

/** OrphanNote is what an orphan says of itself. */
export interface OrphanNote {
  /** listenKey of each address. A primary with a rival of one of them is its successor. */
  keys: string[];
  /** Listening sockets that it can give away. */
  socketCount: number;
  /** How long it takes to drain at most. */
  drainMs: number;
}

const ANYWHERE = '*';

/**
 * listenKey is a path, or host and port; null where the port is not known in advance. A name may be any address, so that its host is `*`,
 * as it is for all addresses of a machine.
 */
export function listenKey(address: ListenAddress): string | null {
  if (address.kind === 'unix') return address.path;
  const { host, port } = address;
  const isKnown = host !== null && isIP(host) !== 0 && !isWildcard(host);
  return port === 0 ? null : `${isKnown ? host : ANYWHERE}:${port}`;
}

/** areRivals: whether two instances with these listenKeys cannot listen at the same time, so that one is the successor of the other. */
export function areRivals(one: string, other: string): boolean {
  const [[host, port], [otherHost, otherPort]] = [split(one), split(other)];
  return port === otherPort && (host === otherHost || host === ANYWHERE || otherHost === ANYWHERE);
}

function split(key: string): [host: string, port: string] {
  const at = key.lastIndexOf(':');
  return key.startsWith('/') ? [key, ''] : [key.slice(0, at), key.slice(at + 1)];
}

/** listenKeys are those of all addresses. */
export function listenKeys(listen: readonly ListenAddress[]): string[] {
  return listen.map(listenKey).filter((key) => key !== null);
}
