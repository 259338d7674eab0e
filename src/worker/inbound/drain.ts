/**
 * The end of a worker's service once the grace is over (B38): listeners close, idle connections close, what is under way ends or is cut.
 *
 * A client may send its next request in the moment in which its idle connection is closed, and gets no answer then. Where other workers
 * serve, there is time to let most connections end with an answer (`Connection: close`) before the rest is closed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { DeadlineTimer } from '../../infra/deadline-timer.ts';
import { QUEUE_REST_MS } from '../../infra/listeners.ts';
import { NOWHERE } from '../../infra/placed-list.ts';
import { atMost } from '../../infra/with-deadline.ts';
import type { BaseConnection } from './base-connection.ts';

/** A drain closes connections that are idle for this long. Right after an answer, the next request may be on its way. */
const DRAIN_IDLE_MS = 250;
const DRAIN_SWEEP_MS = 50;
/** Of the time to drain, how long a patient drain waits for the next request of idle connections. */
const PATIENCE_RATIO = 1 / 3;
/** Before a drain cuts what is left, the peers of tunnels see a FIN. */
const HALF_CLOSE_MS = 500;

export interface DrainTimes {
  /** For this long everything goes on. */
  graceMs: number;
  /** After that, requests under way have this long to end. */
  drainMs: number;
  /** Nobody else accepts from this worker's sockets: it listens on until its connections of now are gone. */
  alone?: boolean;
  /** Other workers serve: idle connections have time to end with their next answer. */
  patient?: boolean;
}

interface DrainOptions {
  timer: DeadlineTimer;
  /** The open ones at any time. */
  connections: readonly BaseConnection[];
  /** How long a request head may take. */
  headersMs: () => number;
  /** How long a connection may be idle. */
  keepAliveMs: () => number;
  /** Closes the listeners once nobody waits in their queues, or after restMs. */
  closeListeners: (restMs: number) => Promise<void>;
  halfCloseTunnels: () => void;
  /** Closes every connection at once. */
  cut: () => void;
}

/** Drain is made once by InboundServer. */
export class Drain {
  readonly #options: DrainOptions;
  /** A worker that drains alone must close its listeners now. */
  #listeningOver = false;
  /** Until then idle connections stay open. */
  #patientUntilMs = 0;
  #onEmpty: (() => void) | null = null;

  constructor(options: DrainOptions) {
    this.#options = options;
  }

  /** run is called once, when the grace is over; see InboundServer.drain. Resolves when nothing is open. */
  async run({ drainMs, alone, patient }: Required<Omit<DrainTimes, 'graceMs'>>): Promise<void> {
    const { timer, headersMs, keepAliveMs, closeListeners } = this.#options;
    const startMs = timer.monotonicMs();
    if (patient) this.#patientUntilMs = startMs + Math.min(keepAliveMs(), drainMs * PATIENCE_RATIO);
    const endsAtMs = startMs + drainMs;
    const headsEndAtMs = startMs + headersMs();
    this.#closeIdle(headsEndAtMs);
    const sweep = setInterval(() => this.#closeIdle(headsEndAtMs), DRAIN_SWEEP_MS);
    const restMs = Math.min(QUEUE_REST_MS, drainMs / 2);
    if (alone) await this.#outlastPresent(endsAtMs - restMs);
    await closeListeners(restMs);
    await this.#waitUntilEmpty(endsAtMs);
    clearInterval(sweep);
  }

  /** hurry: see InboundServer. */
  hurry(): void {
    this.#listeningOver = true;
    this.#patientUntilMs = 0;
  }

  /** connectionClosed is called after each connection that ended. */
  connectionClosed(): void {
    if (this.#options.connections.length === 0) this.#onEmpty?.();
  }

  /** Waits until the connections of now are gone. */
  async #outlastPresent(untilMs: number): Promise<void> {
    const { connections, timer } = this.#options;
    let present = connections.slice();
    while (present.length > 0 && !this.#listeningOver && timer.monotonicMs() < untilMs) {
      await delay(DRAIN_SWEEP_MS);
      present = present.filter(({ place }) => place !== NOWHERE);
    }
  }

  async #waitUntilEmpty(endsAtMs: number): Promise<void> {
    const { connections, timer, halfCloseTunnels, cut } = this.#options;
    if (connections.length === 0) return;
    const { promise: empty, resolve } = Promise.withResolvers<void>();
    this.#onEmpty = resolve;
    const restMs = (): number => Math.max(0, endsAtMs - timer.monotonicMs());
    const isEmpty = await atMost(empty, Math.max(0, restMs() - HALF_CLOSE_MS));
    if (!isEmpty) halfCloseTunnels();
    if (!isEmpty && !(await atMost(empty, restMs()))) cut();
    await empty;
  }

  /** @param headsEndAtMs until then a connection that has received bytes may be in the middle of a head */
  #closeIdle(headsEndAtMs: number): void {
    const { connections, timer } = this.#options;
    const nowMs = timer.monotonicMs();
    const isPatient = nowMs < this.#patientUntilMs;
    for (const connection of connections.slice()) {
      // A client of HTTP/2 has been told which of its streams count (GOAWAY).
      if (isPatient && connection.protocol !== 'h2') continue;
      const mayBegin = connection.receiving && nowMs < headsEndAtMs;
      if (connection.idle && !mayBegin && connection.sinceMs <= nowMs - DRAIN_IDLE_MS) connection.end();
    }
  }
}
