/** The caps on the connections of a worker (B20): on all together, where an idle one makes room, and on those of one address. */
import { openFileLimit } from '../../infra/file-descriptors.ts';
import type { WorkerMetrics } from '../../infra/worker-metrics.ts';
import type { Plan } from '../../proxy/plan.ts';
import type { BaseConnection } from './base-connection.ts';
import { IdleConnections } from './idle-connections.ts';

/** ConnectionCaps is made by InboundServer. */
export class ConnectionCaps {
  readonly #metrics: WorkerMetrics;
  readonly #automaticCap = Math.floor(openFileLimit() / 2);
  readonly #cell: number;
  readonly #perAddressCell: number;
  readonly #idle = new IdleConnections();
  /** Open connections by address, without trusted proxies. null while there is no cap: a Map is costly here (see PlacedList). */
  #perAddress: Map<string, number> | null = null;

  constructor(metrics: WorkerMetrics) {
    this.#metrics = metrics;
    this.#cell = metrics.series('sluice_shed_total', 'connections');
    this.#perAddressCell = metrics.series('sluice_shed_total', 'connections_per_ip');
  }

  /**
   * excess counts a new connection, and returns the one that must close for a cap: the new one or, where the cap on all together is exceeded,
   * one that has been idle for long; null: none. @param open all connections, this one included
   */
  excess(connection: BaseConnection, open: readonly BaseConnection[], plan: Plan): BaseConnection | null {
    const { connections, connectionsPerIp } = plan.limits;
    const ofAddress = this.#countOf(connection, open, plan);
    const cap = connections === 'auto' ? this.#automaticCap : connections;
    const isAboveOwn = connectionsPerIp > 0 && ofAddress > connectionsPerIp;
    const isAboveCap = cap > 0 && open.length > cap;
    if (!isAboveOwn && !isAboveCap) return null;
    this.#metrics.add(isAboveOwn ? this.#perAddressCell : this.#cell, 1);
    // Its own address has had its share.
    return isAboveOwn ? connection : (this.#idle.longest(open, connection.sinceMs) ?? connection);
  }

  /** makeRoom counts and returns a connection that has been idle for long, where descriptors run out; null: there is none. */
  makeRoom(open: readonly BaseConnection[], nowMs: number): BaseConnection | null {
    const idle = this.#idle.longest(open, nowMs);
    if (idle !== null) this.#metrics.add(this.#cell, 1);
    return idle;
  }

  /** closed is called once for each connection that is closed. */
  closed({ counted, client }: BaseConnection): void {
    if (counted) this.#change(client.address, -1);
  }

  /** Connections of the same address, this one included; 0 where they are not counted. Where a cap is new, all are counted first. */
  #countOf(
    connection: BaseConnection,
    open: readonly BaseConnection[],
    { limits, identifier }: Plan,
  ): number {
    if (limits.connectionsPerIp === 0) {
      this.#perAddress = null;
      return 0;
    }
    const uncounted = this.#perAddress === null ? open : [connection];
    this.#perAddress ??= new Map();
    for (const each of uncounted) {
      each.counted = each.isClient && !identifier.addressOf(each.client.address).isTrusted;
      if (each.counted) this.#change(each.client.address, 1);
    }
    return connection.counted ? (this.#perAddress.get(connection.client.address) ?? 0) : 0;
  }

  #change(address: string, by: 1 | -1): void {
    const counts = this.#perAddress;
    const count = (counts?.get(address) ?? 0) + by;
    if (count > 0) counts?.set(address, count);
    else counts?.delete(address);
  }
}
