/** Closes what was opened, the last first: every one, each with a deadline, whatever fails. */
import { toError } from '../contract/errors.ts';
import { withDeadline } from './with-deadline.ts';

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
