/** A closed-loop load on keep-alive connections: each connection always has one request under way, as with `wrk -c`. */
import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { waitFor } from './wait.ts';

export interface LoadOptions {
  url: string;
  connections?: number;
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  /** Pause of each connection after an answer, so that the load leaves CPU time for the test; default: none. */
  pauseMs?: number;
  /** Called for each answer, for example to count backends. */
  onAnswer?: (status: number, body: string, response: IncomingMessage) => void;
}

export interface LoadResult {
  total: number;
  /** By status code. */
  statuses: Record<string, number>;
  /** Requests without a complete answer, by error code and by whether the connection had served a request before. */
  failures: Record<string, number>;
  /** Longest answer in ms. */
  slowestMs: number;
}

export class Load {
  readonly result: LoadResult = { total: 0, statuses: {}, failures: {}, slowestMs: 0 };
  readonly #options: LoadOptions;
  readonly #agent: Agent;
  #running = true;
  readonly #loops: Promise<void>[] = [];

  constructor(options: LoadOptions) {
    this.#options = options;
    const connections = options.connections ?? 16;
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections });
    for (let i = 0; i < connections; i++) this.#loops.push(this.#loop());
  }

  get failureCount(): number {
    return Object.values(this.result.failures).reduce((sum, n) => sum + n, 0);
  }

  /** Answers that are not 2xx. */
  get refusedCount(): number {
    return Object.entries(this.result.statuses).reduce(
      (sum, [status, n]) => sum + (status.startsWith('2') ? 0 : n),
      0,
    );
  }

  /** atLeast waits for this many further answers. */
  async atLeast(count: number, timeoutMs = 20_000): Promise<void> {
    const from = this.result.total;
    await waitFor(`${count} further answers under load`, () => this.result.total - from >= count, {
      timeoutMs,
    });
  }

  /** stop waits for the requests under way and closes the connections. */
  async stop(): Promise<LoadResult> {
    this.#running = false;
    await Promise.all(this.#loops);
    this.#agent.destroy();
    return this.result;
  }

  async #loop(): Promise<void> {
    const { pauseMs = 0 } = this.#options;
    while (this.#running) {
      await this.#one();
      if (pauseMs > 0) await pause(pauseMs);
    }
  }

  #one(): Promise<void> {
    const { url, method = 'GET', headers, body, onAnswer } = this.#options;
    const { result } = this;
    const startedMs = performance.now();
    return new Promise((resolve) => {
      const fail = (error: NodeJS.ErrnoException) => {
        const code = `${error.code ?? error.message}${sent.reusedSocket ? ' on a reused connection' : ''}`;
        result.failures[code] = (result.failures[code] ?? 0) + 1;
        // A refused connection fails at once: without a pause the loop would spin.
        setTimeout(resolve, 5);
      };
      const sent = request(url, { agent: this.#agent, method, headers, timeout: 15_000 }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('error', fail);
        response.on('end', () => {
          const status = response.statusCode ?? 0;
          result.total++;
          result.statuses[status] = (result.statuses[status] ?? 0) + 1;
          result.slowestMs = Math.max(result.slowestMs, performance.now() - startedMs);
          onAnswer?.(status, text, response);
          resolve();
        });
      });
      sent.on('timeout', () =>
        sent.destroy(Object.assign(new Error('no answer'), { code: 'NO_ANSWER_IN_15_S' })),
      );
      sent.on('error', fail);
      sent.end(body);
    });
  }
}

/** startLoad begins at once; put `t.after(() => load.stop())` on the next line. */
export function startLoad(options: LoadOptions): Load {
  return new Load(options);
}
