/** The worker's end of the IPC: typed messages out, parsed messages in. */
import cluster from 'node:cluster';
import { Socket } from 'node:net';
import { type PrimaryMessage, parsePrimaryMessage, type WorkerMessage } from '../contract/messages.ts';
import type { Logger } from '../infra/logging/logger.ts';

/** Characters of the type of an unknown message that are logged. */
const MAX_TYPE_CHARS = 50;

export class PrimaryLink {
  readonly #logger: Logger;

  /** @param onMessage called for each message in the order of arrival, with the connection that came with it */
  constructor(logger: Logger, onMessage: (message: PrimaryMessage, connection: Socket | null) => void) {
    this.#logger = logger;
    // Without this, node ends a worker at once when its primary goes (lib/internal/cluster/child.js), requests and all.
    if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true;
    process.on('message', (raw: { type?: unknown } | null, handle: unknown) => {
      const message = parsePrimaryMessage(raw);
      if (message !== null) onMessage(message, handle instanceof Socket ? handle : null);
      // Nothing but its type is logged: messages carry secrets.
      else {
        const type = String(raw?.type).slice(0, MAX_TYPE_CHARS);
        logger.error({ type }, 'unknown message from the primary');
      }
    });
  }

  /**
   * send drops the message when the primary is gone: the worker is about to exit then.
   * @param onLeft called when this message, and so everything before it, has left the process or never can
   * @returns whether it was sent
   */
  send(message: WorkerMessage, onLeft?: () => void): boolean {
    if (!process.connected || process.send === undefined) {
      onLeft?.();
      return false;
    }
    process.send(message, undefined, undefined, (error) => {
      if (error !== null && process.connected)
        this.#logger.error({ err: error, type: message.type }, 'IPC send failed');
      onLeft?.();
    });
    return true;
  }
}
