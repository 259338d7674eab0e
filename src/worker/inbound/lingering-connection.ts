/** Lingering: our FIN is out, and what still comes is dropped. To close would make the kernel answer it by a RST, which takes what the client has not got yet. */
import { BaseConnection } from './base-connection.ts';

/** A lingering connection is closed after LINGER_IDLE_MS without bytes, and after LINGER_MAX_MS in any case; in a drain after `timeouts.drain`, where that is longer. */
export const LINGER_MAX_MS = 30_000;
export const LINGER_IDLE_MS = 2_000;

/** LingeringConnection is a connection with a protocol. While it lingers it counts against the caps as before. */
export abstract class LingeringConnection extends BaseConnection {
  /** Bytes read since the connection was opened. */
  protected abstract readonly readBytes: number;
  #lookedBytes = 0;
  #lingerIdleMs = LINGER_IDLE_MS;

  /** hasRead tells whether bytes have come since it was called last. */
  protected hasRead(): boolean {
    const { readBytes } = this;
    const hasRead = readBytes > this.#lookedBytes;
    this.#lookedBytes = readBytes;
    return hasRead;
  }

  /** @param idleMs how long nothing may come */
  protected beginLingering(idleMs = LINGER_IDLE_MS): void {
    this.#lingerIdleMs = idleMs;
    this.sinceMs = this.owner.timer.monotonicMs();
    this.hasRead();
    this.arm(idleMs);
  }

  /** lingerOn is called when the deadline of a lingering connection is due. @returns false: it must be closed */
  protected lingerOn(): boolean {
    const { draining, plan, timer } = this.owner;
    const maxMs = draining ? Math.max(LINGER_MAX_MS, plan.timeouts.drainMs) : LINGER_MAX_MS;
    const leftMs = this.sinceMs + maxMs - timer.monotonicMs();
    if (!this.hasRead() || leftMs <= 0) return false;
    this.arm(Math.min(this.#lingerIdleMs, leftMs));
    return true;
  }
}
