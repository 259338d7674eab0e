/**
 * Attempts and challenges of a machine that is alone: a file says when failed orders may be tried again, its workers answer.
 */
import { z } from 'zod';
import { systemClock } from '../../contract/clock.ts';
import type { AcmeChallenge } from '../../contract/messages.ts';
import type { AcmeFiles } from './files.ts';
import { MAX_WAIT_MS } from './order-times.ts';
import type { AcmeChallenges, AcmeStore, Claim } from './store.ts';

const attemptsSchema = z.record(z.string(), z.object({ failures: z.int().min(0), notBeforeMs: z.number() }));

/** Failed orders in a row, and the time before which no other is tried (milliseconds since the epoch). */
type Attempts = z.output<typeof attemptsSchema>[string];

/** LocalStore throws what the file system throws. */
export class LocalStore implements AcmeStore, AcmeChallenges {
  readonly #files: AcmeFiles;
  readonly #tellWorkers: (challenges: readonly AcmeChallenge[]) => Promise<void>;
  #challenges: readonly AcmeChallenge[] = [];

  constructor(files: AcmeFiles, tellWorkers: (challenges: readonly AcmeChallenge[]) => Promise<void>) {
    this.#files = files;
    this.#tellWorkers = tellWorkers;
  }

  async accountKey(ownPem: string): Promise<string> {
    const saved = this.#files.accountKeyPem;
    if (saved === null) this.#files.saveAccountKey(ownPem);
    return saved ?? ownPem;
  }

  async claim(name: string, known: string | null, holdMs: (failures: number) => number): Promise<Claim> {
    const { failures = 0, notBeforeMs = 0 } = this.#attempts[name] ?? {};
    // A clock that was set back must not stop the renewal for longer than an authority may.
    const waitMs = Math.min(Math.max(notBeforeMs - systemClock.wallMs(), 0), MAX_WAIT_MS);
    if (waitMs > 0) return { pem: known, isGranted: false, failures, waitMs };
    this.#note(name, failures + 1, holdMs(failures + 1));
    return { pem: known, isGranted: true, failures: failures + 1, waitMs };
  }

  async settle(name: string, failures: number, waitMs: number): Promise<void> {
    this.#note(name, failures, waitMs);
  }

  openChallenge(challenge: AcmeChallenge): Promise<void> {
    this.#challenges = [...this.#challenges, challenge];
    return this.#tellWorkers(this.#challenges);
  }

  closeChallenge(token: string): Promise<void> {
    this.#challenges = this.#challenges.filter((each) => each.token !== token);
    return this.#tellWorkers(this.#challenges);
  }

  #note(name: string, failures: number, waitMs: number): void {
    const attempts = { ...this.#attempts, [name]: { failures, notBeforeMs: systemClock.wallMs() + waitMs } };
    this.#files.saveAttempts(JSON.stringify(attempts));
  }

  /** Without the file, or with a broken one, nothing has failed yet. */
  get #attempts(): Record<string, Attempts> {
    try {
      return attemptsSchema.parse(JSON.parse(this.#files.attemptsJson ?? '{}'));
    } catch (thrown) {
      if (thrown instanceof z.ZodError || thrown instanceof SyntaxError) return {};
      throw thrown;
    }
  }
}
