/**
 * The descriptors that a worker has left. When they run out, node closes the connections that wait to be accepted, and requests find no
 * connection to a backend. So, before that:
 *
 * 1. parked connections to backends are closed, the oldest first;
 * 2. a client's connection that has been idle for long is closed (ConnectionCaps);
 * 3. nothing is accepted: connections wait in the kernel's queue, or for another worker, until there is room for them and for what they
 *    will ask for.
 *
 * All is counted anew after a part of what was left is used, so a connection costs one subtraction.
 */
import { existsSync, readdirSync } from 'node:fs';
import type { Backend } from '../balance/backend.ts';
import type { DeadlineTimer } from '../infra/deadline-timer.ts';
import { openFileLimit } from '../infra/file-descriptors.ts';
import { FaultLog } from '../infra/logging/fault-log.ts';
import type { Logger } from '../infra/logging/logger.ts';
import type { Handler } from '../proxy/handler.ts';
import type { PlannedBackend } from '../proxy/plan-pool.ts';
import type { InboundServer } from './inbound/server.ts';

/** For what comes beside connections: log files, Redis, names, a socket that the primary sends. */
const RESERVE = 24;
/** Of the limit, what must be left for accepting to go on; twice as much for it to begin again. */
const MARGIN_RATIO = 1 / 64;
const CHECK_MS = 20;
/** The primary answers within milliseconds. */
const SPARE_MS = 1_000;
/** A client that has been idle for longer need not ask for something in this moment. */
const FRESH_MS = 1_000;

const LIST = '/proc/self/fd';
const FALLBACK_COUNT = 32;

export interface DescriptorRoomOptions {
  server: Pick<InboundServer, 'connectionCount' | 'freshCount' | 'endIdle'>;
  handler: Pick<Handler, 'traffic' | 'tunnels'>;
  /** Those of former plans too, as long as these have requests. */
  backends: () => Iterable<PlannedBackend>;
  timer: DeadlineTimer;
  logger: Logger;
  /** Stops accepting at once. */
  pause: () => void;
  /** Whether it could pause again at once after it accepts again. */
  hasSpare: () => boolean;
  /** Accepts again. */
  resume: () => Promise<void>;
}

/** DescriptorRoom is made by Listening. */
export class DescriptorRoom {
  paused = false;
  readonly #options: DescriptorRoomOptions;
  readonly #limit = openFileLimit();
  readonly #marginCount = Math.max(2, Math.floor(this.#limit * MARGIN_RATIO));
  readonly #log: FaultLog;
  /** Descriptors that are no connections; null: not counted yet. */
  #baseCount: number | null = null;
  /** Connections that may be opened before the next look. */
  #grantCount = 0;
  #pausedAtMs = 0;
  #check: NodeJS.Timeout | null = null;

  constructor(options: DescriptorRoomOptions) {
    this.#options = options;
    this.#log = new FaultLog(options.timer, (facts) =>
      options.logger.warn(facts, 'descriptors run out, nothing is accepted for a while (raise `ulimit -n`)'),
    );
  }

  /** opened is called with each accepted connection, and before one to a backend is opened. */
  opened(): void {
    if (--this.#grantCount <= 0) this.#look();
  }

  /** end makes the worker accept again, for the last time: it drains. */
  async end(): Promise<void> {
    this.#grantCount = Number.POSITIVE_INFINITY;
    if (this.paused) await this.#resume();
  }

  #look(): void {
    const { server } = this.#options;
    const { leftCount, parkedCount, ...rest } = this.#count();
    // While paused, up to the mark where accepting resumes: idle clients would keep the waiting ones out for as long as they stay.
    const wantedCount = (this.paused ? 2 : 1) * this.#marginCount;
    if (leftCount < wantedCount && !this.#closeParked()) server.endIdle();
    // As if all clients would ask in a moment, which saves looking at each of them.
    let laterCount = leftCount + parkedCount - rest.dueCount(server.connectionCount);
    if (laterCount < 2 * this.#marginCount)
      laterCount = leftCount + parkedCount - rest.dueCount(server.freshCount(FRESH_MS));
    this.#grantCount = Math.max(1, Math.floor(Math.min(leftCount, laterCount) / 4));
    // Without a connection nothing would ever change.
    if (!this.paused && laterCount < this.#marginCount && server.connectionCount > 1) this.#pause(leftCount);
    else if (this.paused && (laterCount >= 2 * this.#marginCount || server.connectionCount === 0))
      this.#resumeIfReady();
  }

  #count() {
    const { server, handler, backends } = this.#options;
    let [openCount, parkedCount, inFlight] = [0, 0, 0];
    let isExclusive = false;
    const servers = new Set<Backend>();
    for (const { connections, backend } of backends()) {
      openCount += connections.openCount;
      parkedCount += connections.parkedCount;
      servers.add(backend);
      isExclusive ||= connections.isExclusive;
    }
    for (const each of servers) inFlight += each.inFlight;
    const tunnelCount = handler.tunnels.openCount;
    const connectionCount = server.connectionCount + openCount + tunnelCount;
    this.#baseCount ??= openFiles() - connectionCount;
    const leftCount = this.#limit - RESERVE - this.#baseCount - connectionCount;
    // Tunnels have a place at their backend, but are no requests in flight any more.
    const waitingCount = Math.max(0, handler.traffic.inFlight + tunnelCount - inFlight);
    /** Connections to backends that will be needed. */
    const dueCount = (clientCount: number): number => (isExclusive ? clientCount + waitingCount : 0);
    return { leftCount, parkedCount, dueCount };
  }

  #closeParked(): boolean {
    let closedCount = 0;
    for (const { connections } of this.#options.backends()) {
      while (closedCount < this.#marginCount && connections.closeParked()) closedCount++;
    }
    return closedCount > 0;
  }

  #pause(leftCount: number): void {
    const { server, pause } = this.#options;
    this.paused = true;
    this.#log.note('', {
      limit: this.#limit,
      left: leftCount + RESERVE,
      connections: server.connectionCount,
    });
    this.#pausedAtMs = this.#options.timer.monotonicMs();
    pause();
    this.#check = setInterval(() => this.#look(), CHECK_MS);
  }

  /** Waits for a spare socket, without which it could not pause again; SPARE_MS at most, because a worker whose primary is gone gets none. */
  #resumeIfReady(): void {
    const { timer, hasSpare } = this.#options;
    if (hasSpare() || timer.monotonicMs() - this.#pausedAtMs >= SPARE_MS) void this.#resume();
  }

  #resume(): Promise<void> {
    if (this.#check !== null) clearInterval(this.#check);
    this.#check = null;
    this.paused = false;
    return this.#options.resume();
  }
}

/** openFiles counts the descriptors of this process; where the system does not tell, those of a worker without connections. */
function openFiles(): number {
  // Less the one that reads the list.
  return existsSync(LIST) ? readdirSync(LIST).length - 1 : FALLBACK_COUNT;
}
