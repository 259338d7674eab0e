/**
 * How a new primary finds the workers of one that died, its *orphans*: each has two Unix sockets in a folder that the workers and
 * every later primary know. These are kept as they are from version to version: the two may be of different ones.
 *
 * - `PID.control`: the orphan writes its note, a line of JSON, and awaits the line `drain`. The connection stays open until it ends.
 * - `PID.sockets`: each connection gets the listening sockets, one after the other (worker/give-sockets.ts).
 */
import type { ListenAddress } from './settings.ts';

export const ORPHAN_CONTROL = '.control';
export const ORPHAN_SOCKETS = '.sockets';
export const ORPHAN_DRAIN = 'drain\n';

/** OrphanNote is what an orphan says of itself. */
export interface OrphanNote {
  /** listenKey of each address. A primary with one of them is its successor. */
  keys: string[];
  /** Listening sockets that it can give away. */
  socketCount: number;
  /** How long it takes to drain at most. */
  drainMs: number;
}

/** listenKey is what no two instances can listen at, whatever the host; null where the port is not known in advance. */
export function listenKey(address: ListenAddress): string | null {
  if (address.kind === 'unix') return address.path;
  return address.port === 0 ? null : String(address.port);
}

/** listenKeys are those of all addresses. */
export function listenKeys(listen: readonly ListenAddress[]): string[] {
  return listen.map(listenKey).filter((key) => key !== null);
}
