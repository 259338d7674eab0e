/** Closes what was opened, the last first: every one, each with a deadline, whatever fails. */
import { toError } from '../contract/errors.ts';

const DEFAULT_RELEASE_TIMEOUT_MS = 5_000;

export class Lifecycle {
  #releasers: { name: string; release: () => unknown; timeoutMs: number }[] = [];

  /** onClose registers how to close something; call it on the line after opening it. */
  onClose(name: string, release: () => unknown, timeoutMs = DEFAULT_RELEASE_TIMEOUT_MS): void {
    this.#releasers.push({ name, release, timeoutMs });
  }

  /** close closes everything once; later calls do nothing. Throws an AggregateError of all failures. */
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

/**
 * withDeadline settles as the promise does, and rejects after timeoutMs.
 * @param late names the wait in the error's message, or makes the error
 */
export async function withDeadline<T>(
  promise: Promise<T>,
  timeoutMs: number,
  late: string | (() => Error),
): Promise<T> {
  const first = await race(promise, timeoutMs);
  if (first !== EXPIRED) return first;
  throw typeof late === 'string' ? new Error(`${late} took longer than ${timeoutMs} ms`) : late();
}

/** atMost waits for the promise, timeoutMs at most. @returns whether the promise was first */
export async function atMost(promise: Promise<unknown> | undefined, timeoutMs: number): Promise<boolean> {
  return (await race(Promise.resolve(promise), timeoutMs)) !== EXPIRED;
}

const EXPIRED = Symbol('expired');

async function race<T>(promise: Promise<T>, timeoutMs: number): Promise<T | typeof EXPIRED> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<typeof EXPIRED>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, EXPIRED);
  });
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}
