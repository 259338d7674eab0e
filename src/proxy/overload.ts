/**
 * What an overloaded worker turns away (B12). worker/overload-monitor.ts measures and calls `set`. Levels:
 *
 * none       nothing is turned away; a request costs one comparison.
 * softened   keep-alive is off: answers of HTTP/1.1 end their connections, and some connections of HTTP/2 get a GOAWAY.
 * shedding   besides, new requests are refused: of the routes with priority `low` first, then `normal`, then `critical`.
 *
 * Who is refused is not left to chance. Each request adds the share that is to be refused to the debt of its priority; each refusal
 * takes 1 away. From a debt of 1 on, clients are refused that have as many requests in flight as the mean or more; from MAX_DEBT on, all.
 */
import type { OverloadLevel } from '../contract/overload.ts';
import type { RoutePriority } from '../contract/settings.ts';
import type { WorkerMetrics } from '../infra/worker-metrics.ts';

/** From what is shed first to what is shed last. */
export const PRIORITIES: readonly RoutePriority[] = ['low', 'normal', 'critical'];
/** Requests of light clients that pass while a refusal is due. */
const MAX_DEBT = 16;
/** Clients whose requests are counted at most; others pass as light ones. */
const MAX_CLIENTS = 4_096;
/** Connections of HTTP/2 that end between two calls of `set`: their clients all come back at once, with a handshake each. */
const MAX_GOAWAYS = 16;

/** Overload is made once per worker. */
export class Overload {
  level: OverloadLevel = 'none';
  /** Requests that came since the last `set` while the level was not `none`, by priority as in PRIORITIES. */
  readonly asked = [0, 0, 0];
  readonly #metrics: WorkerMetrics;
  readonly #cell: number;
  #pressure = 0;
  readonly #debts = [0, 0, 0];
  #goaways = 0;
  /** Requests in flight that were counted, all and by client. */
  #counted = 0;
  readonly #byClient = new Map<string, number>();

  constructor(metrics: WorkerMetrics) {
    this.#metrics = metrics;
    this.#cell = metrics.series('sluice_shed_total', 'overload');
  }

  /** set is called a few times a second. @param pressure 0 to 3: of each priority the share `pressure - priorityIndex` is refused, from 0 to 1 */
  set(level: OverloadLevel, pressure: number): void {
    this.level = level;
    this.#pressure = pressure;
    this.#goaways = level === 'none' ? 0 : MAX_GOAWAYS;
    this.asked.fill(0);
    if (pressure === 0) this.#debts.fill(0);
  }

  /** endsConnection tells whether a connection should end with the answer under way. */
  endsConnection(isHttp2: boolean): boolean {
    if (this.level === 'none' || (isHttp2 && this.#goaways === 0)) return false;
    if (isHttp2) this.#goaways -= 1;
    return true;
  }

  /**
   * admit is called with each new request while the level is not `none`. One that is admitted is in flight until `ended`.
   *
   * @param priorityIndex of its priority in PRIORITIES
   * @param client name of its bucket
   */
  admit(priorityIndex: number, client: string): boolean {
    this.asked[priorityIndex]! += 1;
    const share = this.refusedShare(priorityIndex);
    if (share > 0 && this.#isRefused(priorityIndex, share, client)) {
      this.#metrics.add(this.#cell, 1);
      return false;
    }
    const count = this.#byClient.get(client) ?? 0;
    this.#counted += 1;
    if (count > 0 || this.#byClient.size < MAX_CLIENTS) this.#byClient.set(client, count + 1);
    return true;
  }

  /** refusedShare is the part of the requests of a priority that is to be refused now, 0 to 1. */
  refusedShare(priorityIndex: number): number {
    return Math.min(1, Math.max(0, this.#pressure - priorityIndex));
  }

  #isRefused(priorityIndex: number, share: number, client: string): boolean {
    if (share === 1) return true;
    this.#debts[priorityIndex]! += share;
    const debt = this.#debts[priorityIndex]!;
    if (debt < 1 || (debt < MAX_DEBT && !this.#isHeavy(client))) return false;
    this.#debts[priorityIndex]! -= 1;
    return true;
  }

  #isHeavy(client: string): boolean {
    const count = this.#byClient.get(client) ?? 0;
    return count > 0 && count * this.#byClient.size >= this.#counted;
  }

  /** ended is called once for each request that was admitted. */
  ended(client: string): void {
    this.#counted -= 1;
    const count = this.#byClient.get(client) ?? 0;
    if (count > 1) this.#byClient.set(client, count - 1);
    else this.#byClient.delete(client);
  }
}
