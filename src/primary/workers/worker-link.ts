/** The primary's end of the IPC channel to one worker process: typed messages out, checked messages in. */
import type { ChildProcess, SendHandle } from 'node:child_process';
import type { Socket } from 'node:net';
import { LbError, systemCodeOf, toError } from '../../contract/errors.ts';
import { type PrimaryMessage, parseWorkerMessage, type WorkerMessage } from '../../contract/messages.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { atMost, withDeadline } from '../../infra/with-deadline.ts';
import type { SocketHandle } from './held-socket.ts';

/** How a worker process ended; both null where it could not even be started. */
export interface WorkerExit {
  code: number | null;
  signal: string | null;
}

type MessageType = WorkerMessage['type'];
type MessageOf<T extends MessageType> = Extract<WorkerMessage, { type: T }>;

/** What may wait for a worker that does not read: messages, and bytes of those behind a full pipe. With more it is killed. */
const MAX_UNSENT_MESSAGES = 20_000;
const MAX_UNSENT_BYTES = 16 * 1024 * 1024;
/** How long the pipe of a dead worker is read on; it may never end, because another process may have inherited it. */
const LAST_MESSAGES_MS = 100;
/** Characters of an unknown message that are logged. */
const MAX_LOGGED_CHARS = 200;

/** WorkerLink lives as long as one worker process; the slot that forked it makes it. */
export class WorkerLink {
  /** Number of the worker's slot. */
  readonly index: number;
  /** 0 where the process could not be started. */
  readonly pid: number;
  /** Resolves once the process has ended and its last message was heard; never rejects. */
  readonly exited: Promise<WorkerExit>;
  readonly #worker: ChildProcess;
  readonly #parentLogger: Logger;
  readonly #listeners = new Set<(message: WorkerMessage) => void>();
  readonly #exitListeners = new Set<() => void>();
  #alive = true;
  #lastQuestion = 0;
  #unsentCount = 0;
  #unsentBytes = 0;

  /**
   * @param worker fresh from fork(), in the same turn of the loop: nothing it says is lost
   * @param index number of the worker's slot
   */
  constructor(worker: ChildProcess, index: number, logger: Logger) {
    this.#worker = worker;
    this.index = index;
    this.pid = worker.pid ?? 0;
    this.#parentLogger = logger;
    this.exited = new Promise((resolve) => {
      worker.once('exit', async (code: number | null, signal: string | null) => {
        // The pipe may still hold the last messages of the worker.
        if (worker.connected)
          await atMost(new Promise((heard) => worker.once('disconnect', heard)), LAST_MESSAGES_MS);
        this.#gone();
        resolve({ code, signal });
      });
      worker.on('error', (error: Error) => {
        this.#logger.error({ err: error }, 'worker process error');
        // A process that could not be started has no exit: the error is all there is.
        if (worker.pid !== undefined) return;
        this.#gone();
        resolve({ code: null, signal: null });
      });
    });
    worker.on('message', (raw: unknown) => this.#receive(raw));
  }

  /** Made for each line: a child logger keeps the level of its birth, and a reload may change the level. */
  get #logger(): Logger {
    return this.#parentLogger.child({ worker: this.index, workerPid: this.pid });
  }

  /** Whether the process runs, as far as this one knows. */
  get alive(): boolean {
    return this.#alive;
  }

  /**
   * send sends a message, and with it a client's connection or a listening socket, of which this process keeps its own descriptor. A
   * message to a worker that is gone is dropped: its replacement is told everything again.
   *
   * @returns whether it was sent
   */
  send(message: PrimaryMessage, socket?: Socket | SocketHandle): boolean {
    if (!this.#alive || !this.#worker.connected) return false;
    if (this.#unsentCount >= MAX_UNSENT_MESSAGES || this.#unsentBytes >= MAX_UNSENT_BYTES) {
      const facts = { unsent: this.#unsentCount, unsentBytes: this.#unsentBytes };
      this.#logger.error(facts, 'worker does not read its messages, killing it');
      this.kill();
      return false;
    }
    this.#unsentCount++;
    let bytes = 0;
    const hasRoom = this.#worker.send(
      message,
      socket as SendHandle,
      { keepOpen: true },
      (error: Error | null) => {
        this.#unsentCount--;
        this.#unsentBytes -= bytes;
        if (error === null || !this.#alive) return;
        // EPIPE: the worker has ended, and its exit is told in a moment.
        const level = systemCodeOf(error) === 'EPIPE' ? 'debug' : 'warn';
        this.#logger[level]({ err: error, type: message.type }, 'send failed');
      },
    );
    // Measured only then, because node does not tell the size, and to make the text a second time costs as much as to send it.
    if (!hasRoom)
      bytes = message.type === 'clients' ? message.records.length : JSON.stringify(message).length;
    this.#unsentBytes += bytes;
    return true;
  }

  /** onMessage hears every message that parses, in order; returns how to stop listening. */
  onMessage(listener: (message: WorkerMessage) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * waitFor resolves with the next message of a type that `accept` accepts. Rejects with LbError `worker_gone` when the worker ends or
   * has ended, and with `worker_timeout` after timeoutMs.
   */
  async waitFor<T extends MessageType>(
    type: T,
    timeoutMs: number,
    accept: (message: MessageOf<T>) => boolean = () => true,
  ): Promise<MessageOf<T>> {
    const { promise, resolve, reject } = Promise.withResolvers<MessageOf<T>>();
    const stopListening = this.onMessage((message) => {
      if (isOfType(message, type) && accept(message)) resolve(message);
    });
    const gone = () => reject(new LbError('worker_gone', `worker ${this.index} ended before its '${type}'`));
    const late = `worker ${this.index} sent no '${type}' within ${timeoutMs} ms`;
    this.#exitListeners.add(gone);
    if (!this.#alive) gone();
    try {
      return await withDeadline(promise, timeoutMs, () => new LbError('worker_timeout', late));
    } finally {
      stopListening();
      this.#exitListeners.delete(gone);
    }
  }

  /**
   * ask sends a question, and resolves with the answer of this type that has the question's number: one to an earlier question, which comes
   * too late, is nobody's. Rejects as waitFor does.
   */
  ask<T extends MessageType>(
    type: T,
    timeoutMs: number,
    question: (id: number) => PrimaryMessage,
  ): Promise<MessageOf<T>> {
    const id = ++this.#lastQuestion;
    const answered = this.waitFor(type, timeoutMs, (message) => 'id' in message && message.id === id);
    this.send(question(id));
    return answered;
  }

  /** kill sends SIGKILL: for a worker that does not obey messages. */
  kill(): void {
    if (this.#alive) this.#worker.kill('SIGKILL');
  }

  #gone(): void {
    if (!this.#alive) return;
    this.#alive = false;
    for (const listener of [...this.#exitListeners]) listener();
  }

  #receive(raw: unknown): void {
    const message = parseWorkerMessage(raw);
    if (message === null) {
      const start = JSON.stringify(raw)?.slice(0, MAX_LOGGED_CHARS);
      this.#logger.error({ raw: start }, 'unknown message from a worker');
      return;
    }
    for (const listener of [...this.#listeners]) {
      try {
        listener(message);
      } catch (thrown) {
        // Uncaught, it would end the primary, and with it every worker.
        this.#logger.error({ err: toError(thrown), type: message.type }, 'a message of a worker failed');
      }
    }
  }
}

function isOfType<T extends MessageType>(message: WorkerMessage, type: T): message is MessageOf<T> {
  return message.type === type;
}
