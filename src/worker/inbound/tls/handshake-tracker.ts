/** What the handshakes of a worker share: the bound on those under way, the counters, and the log. */
import type { FaultLog } from '../../../infra/logging/fault-log.ts';
import { PlacedList } from '../../../infra/placed-list.ts';
import type { WorkerMetrics } from '../../../infra/worker-metrics.ts';

/**
 * How a handshake ended. failed: client and Sluice did not agree, or the client's certificate is not valid. timeout: it took too
 * long. aborted: the client left. plaintext: the client sent something else than TLS. shed: too many were under way.
 */
export type HandshakeResult = 'ok' | 'failed' | 'timeout' | 'aborted' | 'plaintext' | 'shed';

/** A handshake takes some 50 KiB until it is done. */
const MAX_HANDSHAKES = 1_024;
/** The value of the label `version` of a handshake that did not succeed. */
const NO_VERSION = 'none';

/** UnderWay is the place of a handshake among those under way. */
export interface UnderWay {
  place: number;
  /** shed ends it in favour of others. */
  shed(): void;
}

/** HandshakeTracker is made once per worker. */
export class HandshakeTracker {
  readonly #metrics: WorkerMetrics;
  readonly #log: FaultLog;
  readonly #underWay = new PlacedList<UnderWay>();

  constructor(metrics: WorkerMetrics, log: FaultLog) {
    this.#metrics = metrics;
    this.#log = log;
  }

  /**
   * begun is called with each connection that gets state of TLS. Above the bound a random one ends: that of a client that is
   * slow on purpose is there for ten seconds, and an honest one for milliseconds.
   */
  begun(handshake: UnderWay): void {
    const { items } = this.#underWay;
    if (items.length >= MAX_HANDSHAKES) items[Math.floor(Math.random() * items.length)]?.shed();
    this.#underWay.add(handshake);
  }

  ended(handshake: UnderWay): void {
    this.#underWay.remove(handshake);
  }

  /** succeeded counts one. @param version as node names it: TLSv1.2, TLSv1.3 */
  succeeded(version: string, resumed: boolean): void {
    this.#count('ok', version, resumed);
  }

  /**
   * failed counts and logs one.
   * @param kind a code, from a closed set
   * @param clientIp its address @param err where the kind does not say what failed
   */
  failed(result: HandshakeResult, kind: string, clientIp: string, err?: Error): void {
    this.#count(result, NO_VERSION, false);
    this.#log.note(kind, { result, kind, clientIp, err });
  }

  #count(result: HandshakeResult, version: string, resumed: boolean): void {
    const cell = this.#metrics.series('sluice_tls_handshakes_total', result, version, String(resumed));
    this.#metrics.add(cell, 1);
  }
}
