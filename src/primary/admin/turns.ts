/** Lets a few calls of one kind work at a time. */
import type { Socket } from 'node:net';
import { atMost } from '../../infra/with-deadline.ts';
import { HttpProblem } from './problems.ts';
import type { Access } from './security.ts';

export interface TurnsOptions {
  /** Calls that work at the same time. */
  maxRunning: number;
  /** Calls of each access that wait; further ones are refused. */
  maxWaiting: number;
  /** How long a call waits for its turn. */
  waitMs: Record<Access, number>;
  /** The sentence of the refusal. */
  busy: string;
}

interface TurnCaller {
  access: Access;
  socket: Pick<Socket, 'destroyed'>;
}

/** Turns is made once per kind. Callers who may write go first: those who may only read cannot keep them out. */
export class Turns {
  readonly #options: TurnsOptions;
  /** How to begin, the one that has waited longest first. */
  readonly #waiting: Record<Access, (() => void)[]> = { write: [], read: [] };
  #free: number;

  constructor(options: TurnsOptions) {
    this.#options = options;
    this.#free = options.maxRunning;
  }

  /** run does the work in its turn and settles like it. Throws HttpProblem 503 where too many wait, or its turn does not come in time, and 400 where the caller has left. */
  async run<T>({ access, socket }: TurnCaller, work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await this.#turn(access);
    try {
      if (socket.destroyed) throw new HttpProblem(400, 'the caller has left; nothing was done');
      return await work();
    } finally {
      const next = this.#waiting.write.shift() ?? this.#waiting.read.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }

  async #turn(access: Access): Promise<void> {
    const { maxWaiting, waitMs, busy } = this.#options;
    const waiting = this.#waiting[access];
    const { promise, resolve } = Promise.withResolvers<void>();
    if (waiting.length < maxWaiting) {
      waiting.push(resolve);
      if (await atMost(promise, waitMs[access])) return;
      const at = waiting.indexOf(resolve);
      // Not there: its turn has come just now.
      if (at < 0) return;
      waiting.splice(at, 1);
    }
    throw new HttpProblem(503, busy);
  }
}
