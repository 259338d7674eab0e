/**
 * An open-loop load at a constant rate that keeps the outcome of every single request, whatever the server does: for runs in
 * which failures are the figure (bench/chaos). Latency counts from the time when a request was due, so waiting for a free
 * connection is part of it. open-loop.ts is more exact about microseconds, and gives up where a server misbehaves.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { waitFor, within } from '../../test/support/wait.ts';
import { OutcomeTable, type Tally } from './outcomes.ts';

export interface ConstantLoadOptions {
  /** Default: 127.0.0.1. */
  host: string;
  port: number;
  path: string;
  ratePerSec: number;
  /** Requests that were due for longer fail as `late`, and their connection is closed. */
  deadlineMs: number;
  connections: number;
  /** The load ends by itself after this time. */
  mostSec: number;
  /** true: all connections are open (or were refused) before the first request. */
  openFirst: boolean;
  /** How many addresses X-Forwarded-For names in turn, at random; 0: no such field. */
  clients: number;
  /** After so many answers a connection is closed and opened anew; 0: never. */
  requestsPerConnection: number;
  seed: number;
}

export interface ThreadData {
  options: ConstantLoadOptions;
  rows: number;
  shared: SharedArrayBuffer;
}

const THREAD = new URL('./constant-load-thread.ts', import.meta.url);
const MARGIN_MS = 5_000;

export class ConstantLoad {
  readonly table: OutcomeTable;
  readonly #thread: Worker;
  readonly #deadlineMs: number;
  readonly #exited: Promise<unknown>;

  /** start resolves when the first request is about to be sent. Stop it, also when it has ended by itself. */
  static async start(given: Pick<ConstantLoadOptions, 'port'> & Partial<ConstantLoadOptions>) {
    const options: ConstantLoadOptions = {
      ...{
        host: '127.0.0.1',
        path: '/',
        ratePerSec: 1_000,
        deadlineMs: 10_000,
        connections: 64,
        mostSec: 600,
      },
      ...{ openFirst: true, clients: 0, requestsPerConnection: 0, seed: 1 },
      ...given,
    };
    const load = new ConstantLoad(options);
    await within(once(load.#thread, 'message'), options.deadlineMs + MARGIN_MS, 'the load to start');
    return load;
  }

  private constructor(options: ConstantLoadOptions) {
    const rows = Math.ceil(options.ratePerSec * options.mostSec);
    this.table = new OutcomeTable(rows);
    this.#deadlineMs = options.deadlineMs;
    const workerData: ThreadData = { options, rows, shared: this.table.shared };
    this.#thread = new Worker(THREAD, { workerData });
    this.#exited = once(this.#thread, 'exit');
    // An error of the thread is thrown by stop() too.
    this.#exited.catch(() => undefined);
  }

  /** settled waits until every request that was due before `toMs` is over, and returns the tally of the window. */
  async settled(fromMs: number, toMs: number): Promise<Tally> {
    await waitFor('all requests to be over', () => this.table.tally(fromMs, toMs).waiting === 0, {
      timeoutMs: this.#deadlineMs + MARGIN_MS,
      everyMs: 50,
    });
    return this.table.tally(fromMs, toMs);
  }

  /** stop sends no further requests, waits for those under way, and returns the tally of all. */
  async stop(): Promise<Tally> {
    this.#thread.postMessage('stop');
    await within(this.#exited, this.#deadlineMs + MARGIN_MS, 'the load to end');
    return this.table.tally();
  }
}
