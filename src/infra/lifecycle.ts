/**
 * Whoever opens, closes: a list of releasers run last-opened-first, every one of them, each with a deadline, and with all
 * errors collected.
 */
import { toError } from '../contract/errors.ts';

interface Releaser {
  name: string;
  release: () => void | Promise<void>;
  timeoutMs: number;
}

const DEFAULT_RELEASE_TIMEOUT_MS = 5_000;

export class Lifecycle {
  #releasers: Releaser[] = [];

  /** onClose registers how to give something back; call it on the line after opening. */
  onClose(name: string, release: () => void | Promise<void>, timeoutMs = DEFAULT_RELEASE_TIMEOUT_MS): void {
    this.#releasers.push({ name, release, timeoutMs });
  }

  /** close releases everything once; later calls do nothing. Throws an AggregateError of all that failed. */
  async close(): Promise<void> {
    const releasers = this.#releasers.reverse();
    this.#releasers = [];
    const errors: Error[] = [];
    for (const { name, release, timeoutMs } of releasers) {
      try {
        await withDeadline(Promise.resolve(release()), timeoutMs, `closing ${name}`);
      } catch (thrown) {
        errors.push(new Error(`closing ${name} failed`, { cause: toError(thrown) }));
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, errors.map((error) => error.message).join('; '));
  }
}

/** withDeadline races a promise with a timer that does not outlive it; `what` names the wait in the error. */
export async function withDeadline<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}

/** atMost resolves with the promise, or after timeoutMs. */
export async function atMost(promise: Promise<unknown> | undefined, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([promise, expired]);
  clearTimeout(timer);
}
