/** Which connection makes room for a new one at the cap: one that is owed nothing. */
import type { BaseConnection } from './base-connection.ts';

/** A request may be on its way to a connection that has not been idle for long, and a client on a slow line may be in the middle of its head. */
const MIN_IDLE_MS = 5_000;
/** Connections that are looked at for each new one: an attack must not make the search costly. */
const SEARCHED_MAX = 256;

/** IdleConnections is owned by ConnectionCaps. */
export class IdleConnections {
  /** Where the next search begins: each one goes on where the one before has ended. */
  #from = 0;

  /**
   * longest is the connection, of those that are looked at, which has been idle for longest: one of which no byte has come, else one whose
   * head is incomplete. @param open all connections. @returns null: none has been idle for long enough
   */
  longest(open: readonly BaseConnection[], nowMs: number): BaseConnection | null {
    let found: BaseConnection | null = null;
    const count = Math.min(open.length, SEARCHED_MAX);
    for (let i = 0; i < count; i++) {
      const each = open[(this.#from + i) % open.length];
      if (each?.idle !== true || nowMs - each.sinceMs < MIN_IDLE_MS) continue;
      if (found === null || rankOf(each) < rankOf(found)) found = each;
      else if (rankOf(each) === rankOf(found) && each.sinceMs < found.sinceMs) found = each;
    }
    this.#from = (this.#from + count) % Math.max(1, open.length);
    return found;
  }
}

function rankOf({ receiving }: BaseConnection): number {
  return receiving ? 1 : 0;
}
