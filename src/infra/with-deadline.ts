/** Waits for a promise, with a deadline. */

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
