/** Follows a running Sluice: a sample a second from its event stream, and who sends most. Connects again when the stream ends. */
import { setTimeout as pause } from 'node:timers/promises';
import { LbError, toError } from '../../contract/errors.ts';
import { type AdminTarget, callAdmin, openStream } from '../admin-client.ts';
import { type Sample, type Senders, sampleSchema, topSchema } from '../screen.ts';
import { fitting } from '../session.ts';
import { eventsOf } from './event-stream.ts';

/** One look. `raw` is the sample as the admin port sent it. */
export interface Look {
  sample: Sample;
  raw: string;
  /** null: not known. */
  senders: Senders | null;
}

export interface Follower {
  onLook: (look: Look) => void;
  /** The stream has ended or cannot be opened again; the next attempt follows. */
  onLost: (error: Error) => void;
}

const RETRY_MS = [500, 1_000, 2_000, 5_000];
/** Asking for the heaviest clients costs every worker a message. */
const SENDERS_EVERY_MS = 5_000;
const SENDERS = '/api/v1/top?limit=10';

/** follow calls until `signal` aborts; then it resolves. Rejects when the first attempt to connect fails, or the port refuses. */
export async function follow(
  target: AdminTarget,
  { onLook, onLost }: Follower,
  signal: AbortSignal,
): Promise<void> {
  const senders = new HeaviestClients(target, signal);
  await senders.ask();
  let failures = 0;
  let isFirst = true;
  while (!signal.aborted) {
    try {
      const response = await openStream(target, '/api/v1/events', signal);
      for await (const { event, data } of eventsOf(response)) {
        isFirst = false;
        failures = 0;
        if (event !== 'sample') continue;
        onLook({ sample: fitting(sampleSchema, JSON.parse(data)), raw: data, senders: senders.latest() });
      }
      throw new Error('the stream has ended');
    } catch (thrown) {
      if (signal.aborted) return;
      const error = toError(thrown);
      if (isFirst || (error instanceof LbError && error.status < 500)) throw error;
      onLost(error);
      await pause(RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)], undefined, { signal }).catch(
        () => undefined,
      );
    }
  }
}

/** Asked for at most every few seconds, beside the samples. */
class HeaviestClients {
  readonly #target: AdminTarget;
  readonly #signal: AbortSignal;
  #known: Senders | null = null;
  #askedAtMs = Number.NEGATIVE_INFINITY;

  /** @param signal ends the wait for an answer */
  constructor(target: AdminTarget, signal: AbortSignal) {
    this.#target = target;
    this.#signal = signal;
  }

  /** What is known now; a newer answer comes with a later sample. */
  latest(): Senders | null {
    if (performance.now() - this.#askedAtMs >= SENDERS_EVERY_MS) void this.ask();
    return this.#known;
  }

  async ask(): Promise<void> {
    this.#askedAtMs = performance.now();
    try {
      const call = {
        method: 'GET',
        path: SENDERS,
        timeoutMs: SENDERS_EVERY_MS,
        signal: this.#signal,
      } as const;
      this.#known = fitting(topSchema, await callAdmin(this.#target, call));
    } catch {
      // The samples go on, and their connection says what is wrong.
      this.#known = null;
    }
  }
}
