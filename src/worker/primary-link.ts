/** The worker's end of the IPC: typed messages out, parsed messages in, and one call when the primary is lost. */
import cluster from 'node:cluster';
import {
  PROTOCOL_VERSION,
  type PrimaryMessage,
  parsePrimaryMessage,
  type WorkerMessage,
} from '../contract/messages.ts';
import type { Logger } from '../infra/logging/logger.ts';

export class PrimaryLink {
  readonly #onMessage: (message: PrimaryMessage) => void;
  #logger: Logger | null = null;

  /**
   * @param onMessage called for each message in the order of arrival
   * @param onLost the primary is gone: called once
   */
  constructor(onMessage: (message: PrimaryMessage) => void, onLost: () => void) {
    this.#onMessage = onMessage;
    // Without this, node ends a worker at once when its primary goes (lib/internal/cluster/child.js), requests and all.
    if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true;
    process.on('message', (raw) => this.#receive(raw));
    process.once('disconnect', onLost);
  }

  /** The logger comes with the first settings, hence late. */
  set logger(logger: Logger) {
    this.#logger = logger;
  }

  /** hello opens the conversation; the primary refuses another protocol. */
  hello(): void {
    this.send({ type: 'hello', protocol: PROTOCOL_VERSION, pid: process.pid });
  }

  /** send drops the message when the primary is gone: the worker is on its way out then. */
  send(message: WorkerMessage): void {
    if (!process.connected || process.send === undefined) return;
    process.send(message, undefined, undefined, (error) => {
      if (error !== null && process.connected)
        this.#logger?.error({ err: error, type: message.type }, 'IPC send failed');
    });
  }

  /** sendLast sends and calls back once it, and so everything before it, has left this process or cannot any more. */
  sendLast(message: WorkerMessage, done: () => void): void {
    if (!process.connected || process.send === undefined) done();
    else process.send(message, undefined, undefined, done);
  }

  #receive(raw: unknown): void {
    const message = parsePrimaryMessage(raw);
    if (message === null) {
      // Not the whole of it: messages carry secrets.
      this.#logger?.error({ type: typeOf(raw) }, 'unknown message from the primary');
      return;
    }
    this.#onMessage(message);
  }
}

function typeOf(raw: unknown): string {
  return typeof raw === 'object' && raw !== null && 'type' in raw
    ? String(raw.type).slice(0, 50)
    : typeof raw;
}
