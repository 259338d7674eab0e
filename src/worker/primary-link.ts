/** The worker's end of the IPC: typed messages out, parsed messages in. */
import cluster from 'node:cluster';
import { Socket } from 'node:net';
import { type PrimaryMessage, parsePrimaryMessage, type WorkerMessage } from '../contract/messages.ts';
import { socketOf } from '../infra/listeners.ts';
import type { Logger } from '../infra/logging/logger.ts';

/** Characters of the type of an unknown message that are logged. */
const MAX_TYPE_CHARS = 50;
/** Messages that may wait for a primary that does not read: the takes of some busy 100 ms. */
const MAX_UNSENT_MESSAGES = 2_000;
/** What may be lost: the limiter decides alone, and probes see what traffic saw. All others answer the primary, or come once. */
const DISPENSABLE: ReadonlySet<WorkerMessage['type']> = new Set([
  'bucket-takes',
  'connect-failure',
  'request-error',
  'watched-requests',
]);

export class PrimaryLink {
  readonly #logger: Logger;
  #unsentCount = 0;

  /** @param onMessage called for each message in the order of arrival, with the connection or the listening socket that came with it */
  constructor(logger: Logger, onMessage: (message: PrimaryMessage, socket: Socket | null) => void) {
    this.#logger = logger;
    // Without this, node ends a worker at once when its primary goes (lib/internal/cluster/child.js), requests and all.
    if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true;
    process.on('message', (raw: { type?: unknown } | null, handle: unknown) => {
      const message = parsePrimaryMessage(raw);
      if (message !== null) onMessage(message, socketWith(handle));
      // Nothing but its type is logged: messages carry secrets.
      else {
        const type = String(raw?.type).slice(0, MAX_TYPE_CHARS);
        logger.error({ type }, 'unknown message from the primary');
      }
    });
  }

  /**
   * send drops the message when the primary is gone, and one that is dispensable while the primary does not read. Whoever sends
   * reports sends one at a time.
   * @param onLeft called when this message, and so everything before it, has left the process or never can
   * @returns whether it was sent
   */
  send(message: WorkerMessage, onLeft?: () => void): boolean {
    if (!process.connected || process.send === undefined) {
      onLeft?.();
      return false;
    }
    if (this.#unsentCount >= MAX_UNSENT_MESSAGES && DISPENSABLE.has(message.type)) return false;
    this.#unsentCount++;
    process.send(message, undefined, undefined, (error) => {
      this.#unsentCount--;
      if (error !== null && process.connected)
        this.#logger.error({ err: error, type: message.type }, 'IPC send failed');
      onLeft?.();
    });
    return true;
  }
}

/** A listening socket comes as a bare handle, because a Socket of node's reads at once. null: it was closed before it could be sent. */
function socketWith(handle: unknown): Socket | null {
  if (handle instanceof Socket) return handle;
  return typeof handle === 'object' && handle !== null ? socketOf({ handle }) : null;
}
