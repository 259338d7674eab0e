/**
 * What the machines that share a database tell each other about ACME: certificates, and the challenges that any of them may
 * be asked for. Each machine looks when another one notifies it, and every ten seconds. It writes down which challenges all
 * of its workers know, so that the machine with the order knows when to call the authority.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../contract/clock.ts';
import { toError } from '../../contract/errors.ts';
import type { AcmeChallenge } from '../../contract/messages.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { assertSchema } from '../../infra/postgres/migrations.ts';
import type { Database } from '../../infra/postgres/postgres.ts';
import { withDeadline } from '../../infra/with-deadline.ts';
import type { AcmeChallenges } from './store.ts';
import { ACME_CHANNEL, type AcmeTables } from './tables.ts';

interface AcmeSharingOptions {
  database: Database;
  tables: AcmeTables;
  /** Whose certificates this machine serves. */
  names: readonly string[];
  /** Resolves once all workers of this machine answer these challenges; never rejects. */
  tellWorkers: (challenges: readonly AcmeChallenge[]) => Promise<void>;
  /** Called for each new certificate in the table. */
  onCertificate: (name: string, pem: string) => void;
  /** Called with each look for each name that has no certificate in the table. */
  onMissing: (name: string) => void;
  /** Called once, with those of other authorities. */
  onOthers: (certificates: { name: string; pem: string }[]) => void;
  /** Called after each look. */
  onLooked: () => Promise<void>;
  lookMs: number;
  logger: Logger;
}

const PREPARE_MS = 5_000;
const RETRY_MS = 1_000;
/**
 * A machine that hears no notices (behind a pooler, or while it connects again) looks after lookMs, and tells its workers.
 * One that has not noted a challenge this much later will not: the authority may still ask another one.
 */
const KNOWN_AFTER_LOOK_MS = 5_000;
const KNOWN_EVERY_MS = 50;

export class AcmeSharing implements AcmeChallenges {
  readonly #options: AcmeSharingOptions;
  readonly #machine = randomUUID();
  readonly #stop = new AbortController();
  /** Of the certificates that were read, by name. */
  readonly #versions = new Map<string, string>();
  #tokens = '';
  #failing = false;
  #schemaFits = false;
  #knowsOthers = false;
  #woken = Promise.withResolvers<void>();
  #loop: Promise<void> = Promise.resolve();
  #stopListening = (): void => undefined;

  constructor(options: AcmeSharingOptions) {
    this.#options = options;
  }

  async prepare(): Promise<void> {
    if (this.#options.names.length === 0) return;
    await this.#attempt(() =>
      withDeadline(this.#readCertificates(), PREPARE_MS, 'reading the certificates in the database'),
    );
  }

  /** start looks for the first time, and goes on until close. Resolves after the first look, also a failed one. */
  start(): Promise<void> {
    const { database } = this.#options;
    this.#stopListening = database.listen(ACME_CHANNEL, () => this.#woken.resolve());
    const first = this.#lookOnce();
    this.#loop = first.then(() => this.#lookOn());
    return first;
  }

  /**
   * openChallenge waits for a look of every machine, `lookMs` and five seconds at most. Throws what Database throws, and an
   * AbortError once the signal ends the order.
   */
  async openChallenge(challenge: AcmeChallenge, signal: AbortSignal): Promise<void> {
    const { tables, logger, lookMs } = this.#options;
    await tables.openChallenge(challenge);
    this.#woken.resolve();
    const endMs = systemClock.monotonicMs() + lookMs + KNOWN_AFTER_LOOK_MS;
    const ended = AbortSignal.any([signal, this.#stop.signal]);
    while (systemClock.monotonicMs() < endMs) {
      if (await tables.isKnownEverywhere(challenge.token)) return;
      await sleep(KNOWN_EVERY_MS, undefined, { signal: ended });
    }
    logger.warn(
      'not every machine has taken over an ACME challenge in time; the authority is called all the same',
    );
  }

  async closeChallenge(token: string): Promise<void> {
    await this.#options.tables.closeChallenge(token);
  }

  /** close ends the loop, and tells the others not to wait for this machine. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#woken.resolve();
    this.#stopListening();
    await this.#loop;
    await this.#options.tables.forgetMachine(this.#machine).catch((error: unknown) => {
      this.#options.logger.debug({ err: toError(error) }, 'this machine could not be taken off the list');
    });
  }

  async #lookOn(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const pause = new AbortController();
      const pauseMs = this.#failing ? RETRY_MS : this.#options.lookMs;
      const waited = sleep(pauseMs, undefined, { signal: pause.signal, ref: false }).catch(() => undefined);
      await Promise.race([waited, this.#woken.promise]);
      pause.abort();
      if (!signal.aborted) await this.#lookOnce();
    }
  }

  async #lookOnce(): Promise<void> {
    // Whoever wakes the loop from here on wakes it for another look.
    this.#woken = Promise.withResolvers();
    await this.#attempt(() => this.#look());
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#failing = false;
    } catch (thrown) {
      const facts = { err: toError(thrown) };
      const text = 'certificates cannot be shared with other machines; those that are here stay';
      if (this.#failing) this.#options.logger.debug(facts, text);
      else this.#options.logger.warn(facts, text);
      this.#failing = true;
    }
  }

  async #look(): Promise<void> {
    const { tables, tellWorkers, onLooked } = this.#options;
    await this.#assertSchema();
    const challenges = await tables.challenges();
    const tokens = challenges.map(({ token }) => token);
    if (tokens.join() !== this.#tokens) await tellWorkers(challenges);
    this.#tokens = tokens.join();
    await tables.noteMachine(this.#machine, tokens);
    await this.#readCertificates();
    await onLooked();
  }

  async #assertSchema(): Promise<void> {
    if (!this.#schemaFits) await assertSchema(this.#options.database);
    this.#schemaFits = true;
  }

  async #readCertificates(): Promise<void> {
    const { tables, names, onCertificate, onMissing, onOthers } = this.#options;
    await this.#assertSchema();
    const read = await tables.certificates(names, this.#versions);
    const others = this.#knowsOthers ? null : await tables.otherCertificates(names);
    // Who reads after its end would speak for settings that are no longer in force.
    if (this.#stop.signal.aborted) return;
    this.#versions.clear();
    for (const { name, pem, version } of read) {
      this.#versions.set(name, version);
      if (pem !== null) onCertificate(name, pem);
    }
    for (const name of names) if (!this.#versions.has(name)) onMissing(name);
    if (others !== null) onOthers(others);
    this.#knowsOthers = true;
  }
}
