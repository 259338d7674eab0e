/**
 * Certificates that are fetched from an authority (ACME) and renewed. There is a certificate per name. It is renewed when a third of its
 * lifetime is left. A failure never takes away the certificate that is there; the next attempt waits twice as long. Attempts are written down before
 * they begin, so that no loop of restarts and no second machine calls the authority more often.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../contract/clock.ts';
import { toError } from '../../contract/errors.ts';
import type { AcmeChallenge } from '../../contract/messages.ts';
import type { AcmeSettings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { Database } from '../../infra/postgres/postgres.ts';
import { assertValidAt, type IssuedCertificate, readCertificate, renewalMs } from './certificate.ts';
import { AcmeFiles } from './files.ts';
import { HeldCertificates } from './held-certificates.ts';
import { makeKeyPem, OrderFailure, orderCertificate } from './order.ts';
import { AcmeSharing } from './sharing.ts';
import { AcmeTables, type Claim } from './tables.ts';

/** Where attempts are written down, and who may make the next one: files of this machine, or tables of all machines. */
interface AcmeStore {
  accountKey(ownPem: string): Promise<string>;
  claim(name: string, known: string | null, holdMs: (failures: number) => number): Promise<Claim>;
  postpone(name: string, waitMs: number): Promise<void>;
  publish(name: string, pem: string): Promise<void>;
}

export interface AcmeTimes {
  /** For an order; requestMs for one request of it. */
  orderMs: number;
  requestMs: number;
  /** Pause after the first failure; doubled by each further one. */
  firstPauseMs: number;
  maxPauseMs: number;
  /** Between two looks at the tables. */
  lookMs: number;
}

/** At most five attempts an hour, the limit of Let's Encrypt for failures of a name. */
const TIMES: AcmeTimes = {
  orderMs: 180_000,
  requestMs: 15_000,
  firstPauseMs: 120_000,
  maxPauseMs: 43_200_000,
  lookMs: 10_000,
};
/** The longest pause that an authority may ask for. */
const MAX_RETRY_AFTER_MS = 86_400_000;
/** After an order that was killed: longer than the order. */
const HOLD_MORE_MS = 30_000;
/** The pauses of machines and of names differ by up to this part. */
const PAUSE_JITTER = 0.1;
/** A clock that was set is seen by then. */
const MAX_SLEEP_MS = 3_600_000;
const STORE_RETRY_MS = 30_000;

interface AcmeManagerOptions {
  settings: AcmeSettings;
  names: readonly string[];
  /** The database that machines share; null: this machine is alone. */
  database: Database | null;
  /** Resolves once all workers of this machine answer these challenges; never rejects. */
  tellWorkers: (challenges: readonly AcmeChallenge[]) => Promise<void>;
  /** Called with all certificates after each change. */
  onChange: (certificates: readonly IssuedCertificate[]) => void;
  /** Called after each order. */
  onOrder: (result: 'ok' | 'failed') => void;
  logger: Logger;
  /** For tests. */
  times?: Partial<AcmeTimes>;
}

export class AcmeManager {
  readonly #options: AcmeManagerOptions;
  readonly #times: AcmeTimes;
  readonly #files: AcmeFiles;
  readonly #store: AcmeStore;
  readonly #sharing: AcmeSharing | null;
  readonly #held: HeldCertificates;
  /** Open on this machine, where no other one can be asked for them. */
  #challenges: readonly AcmeChallenge[] = [];
  readonly #stop = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  /** The constructor reads the certificates that are in the folder; it contacts nobody. */
  constructor(options: AcmeManagerOptions) {
    const { settings, names, database, tellWorkers, onChange, times, logger } = options;
    this.#options = options;
    this.#times = { ...TIMES, ...times };
    const { directory, storage } = settings;
    this.#files = new AcmeFiles(storage, directory);
    const tables = database && new AcmeTables(database, directory);
    this.#store = tables ?? this.#files;
    this.#held = new HeldCertificates({ files: this.#files, store: this.#store, onChange, logger });
    this.#sharing =
      tables &&
      new AcmeSharing({
        database: database as Database,
        tables,
        names,
        tellWorkers,
        onCertificate: (name, pem) => this.#held.adopt(name, pem),
        onLooked: () => this.#held.publishNewer(),
        lookMs: this.#times.lookMs,
        logger,
      });
    for (const name of names) this.#held.load(name);
  }

  /** Those that can be served now. */
  get certificates(): IssuedCertificate[] {
    return this.#held.all;
  }

  /** start begins to fetch and to renew, until close. */
  start(): void {
    const names = this.#options.names.filter((name) => this.#held.get(name) === undefined);
    if (names.length > 0)
      this.#options.logger.info(
        { names },
        'certificates are missing and will be fetched; until then handshakes fail',
      );
    this.#loop = this.#run();
  }

  /** close gives up an order that is under way, and ends everything. */
  async close(): Promise<void> {
    this.#stop.abort(new Error('Sluice stops'));
    await this.#loop;
    await this.#sharing?.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    await this.#sharing?.start();
    while (!signal.aborted) {
      let waitMs = MAX_SLEEP_MS;
      for (const name of this.#options.names) {
        if (!signal.aborted) waitMs = Math.min(waitMs, await this.#care(name));
      }
      await sleep(waitMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  /** Orders a certificate for the name if it is time to. Returns how long nothing needs to be done for it; never rejects. */
  async #care(name: string): Promise<number> {
    const held = this.#held.get(name);
    const dueInMs = held === undefined ? 0 : renewalMs(held) - systemClock.wallMs();
    if (dueInMs > 0) return dueInMs;
    try {
      const known = this.#held.known(name);
      const { pem, failures, waitMs } = await this.#store.claim(name, known, (count) => this.#holdMs(count));
      if (pem !== null && pem !== known) this.#held.adopt(name, pem);
      if (failures === null) return waitMs;
      const pauseMs = await this.#order(name, failures);
      await this.#store.postpone(name, pauseMs);
      return pauseMs;
    } catch (thrown) {
      this.#options.logger.error(
        { err: toError(thrown), name },
        'a certificate is due, but its order cannot begin',
      );
      return STORE_RETRY_MS;
    }
  }

  /** @returns how long no other order may begin; after success too, whatever lifetime the authority gave the certificate */
  async #order(name: string, failures: number): Promise<number> {
    const { logger, onOrder } = this.#options;
    try {
      const certificate = readCertificate(await this.#fetch(name), name);
      assertValidAt(certificate, systemClock.wallMs());
      this.#held.keep(certificate);
      onOrder('ok');
      const notAfter = new Date(certificate.notAfterMs).toISOString();
      logger.info({ name, notAfter }, 'certificate obtained');
      await this.#held.publish(certificate);
      return this.#pauseMs(1);
    } catch (thrown) {
      if (this.#stop.signal.aborted) return this.#pauseMs(failures);
      const askedMs = thrown instanceof OrderFailure ? Math.min(thrown.retryAfterMs, MAX_RETRY_AFTER_MS) : 0;
      const pauseMs = Math.max(this.#pauseMs(failures), askedMs);
      const held = this.#held.get(name);
      const facts = {
        err: toError(thrown instanceof OrderFailure ? thrown.cause : thrown),
        name,
        failures,
        nextAttemptSec: Math.round(pauseMs / 1000),
        notAfter: held === undefined ? null : new Date(held.notAfterMs).toISOString(),
      };
      onOrder('failed');
      logger.error(facts, 'no certificate was obtained');
      return pauseMs;
    }
  }

  async #fetch(name: string): Promise<string> {
    const { directory, email, ca } = this.#options.settings;
    const { orderMs, requestMs } = this.#times;
    const own = this.#files.accountKeyPem ?? (await makeKeyPem());
    const accountKeyPem = await this.#store.accountKey(own);
    if (accountKeyPem !== this.#files.accountKeyPem) this.#files.saveAccountKey(accountKeyPem);
    return orderCertificate({
      directory,
      email,
      ca: ca?.pem ?? null,
      accountKeyPem,
      name,
      orderMs,
      requestMs,
      signal: this.#stop.signal,
      openChallenge: (challenge) => this.#openChallenge(challenge),
      closeChallenge: (token) => this.#closeChallenge(token),
    });
  }

  async #openChallenge(challenge: AcmeChallenge): Promise<void> {
    if (this.#sharing !== null) return this.#sharing.open(challenge);
    this.#challenges = [...this.#challenges, challenge];
    await this.#options.tellWorkers(this.#challenges);
  }

  async #closeChallenge(token: string): Promise<void> {
    try {
      if (this.#sharing !== null) return await this.#sharing.closeChallenge(token);
      this.#challenges = this.#challenges.filter((each) => each.token !== token);
      await this.#options.tellWorkers(this.#challenges);
    } catch (thrown) {
      this.#options.logger.warn({ err: toError(thrown) }, 'an ACME challenge stays open until it expires');
    }
  }

  #pauseMs(failures: number): number {
    const { firstPauseMs, maxPauseMs } = this.#times;
    const pauseMs = Math.min(firstPauseMs * 2 ** (failures - 1), maxPauseMs);
    return pauseMs * (1 + PAUSE_JITTER * Math.random());
  }

  #holdMs(failures: number): number {
    return Math.max(this.#pauseMs(failures), this.#times.orderMs + HOLD_MORE_MS);
  }
}
