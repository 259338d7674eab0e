/** Waits for conditions. Tests must not wait in any other way. */

export interface WaitOptions {
  /** Default: 30,000, because a busy machine may be late by seconds, and some ends take the product 12 s. */
  timeoutMs?: number;
  /** Pause between two probes; default: 10, and in long waits more, up to 50: probes take CPU time from what is waited for. */
  everyMs?: number;
}

/**
 * waitFor calls `probe` until it returns something truthy, and returns that. A probe that throws counts as "not yet"; its last
 * error becomes the cause. After timeoutMs it rejects with `description` (say what should have happened) and the last result.
 */
export async function waitFor<T>(
  description: string,
  probe: () => T | Promise<T>,
  { timeoutMs = 30_000, everyMs }: WaitOptions = {},
): Promise<NonNullable<Exclude<T, false | 0 | ''>>> {
  const startMs = performance.now();
  const deadlineMs = startMs + timeoutMs;
  for (;;) {
    let seen: unknown;
    let cause: unknown;
    try {
      const value = await within(Promise.resolve(probe()), deadlineMs - performance.now(), description);
      if (value) return value as NonNullable<Exclude<T, false | 0 | ''>>;
      seen = value;
    } catch (thrown) {
      cause = thrown;
    }
    if (performance.now() >= deadlineMs) {
      const last = cause instanceof Error ? cause.message : JSON.stringify(seen);
      throw new Error(`waited ${timeoutMs} ms in vain: ${description} (last: ${last})`, { cause });
    }
    await pause(everyMs ?? Math.min(50, Math.max(10, (performance.now() - startMs) / 8)));
  }
}

/**
 * untilStill waits until `read` has returned the same number for quietMs, and returns it: the only sign that a peer takes no more.
 * 0 does not count, for it has not begun.
 */
export async function untilStill(
  what: string,
  read: () => number,
  { quietMs = 300, ...options }: WaitOptions & { quietMs?: number } = {},
): Promise<number> {
  let last = 0;
  let sinceMs = 0;
  const isStill = (): boolean => {
    const now = read();
    const nowMs = performance.now();
    if (now !== last) sinceMs = nowMs;
    last = now;
    return last !== 0 && nowMs - sinceMs >= quietMs;
  };
  await waitFor(`${what} to stand still`, isStill, options);
  return last;
}

/** within rejects when `promise` has not settled after timeoutMs. */
export async function within<T>(promise: Promise<T>, timeoutMs: number, description: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`not within ${Math.round(timeoutMs)} ms: ${description}`)),
      Math.max(1, timeoutMs),
    );
  });
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
