/**
 * Certificates that are fetched from an authority (ACME) and renewed. There is a certificate per name. It is renewed when a
 * third of its lifetime is left. A failure never takes away the certificate that is there; the next attempt waits twice as
 * long. Attempts are written down before they begin, so that no loop of restarts and no second machine calls the authority
 * more often.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../contract/clock.ts';
import { toError } from '../../contract/errors.ts';
import type { AcmeChallenge } from '../../contract/messages.ts';
import type { AcmeSettings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { Database } from '../../infra/postgres/postgres.ts';
import type { EventLog } from '../events/event-log.ts';
import { assertValidAt, type IssuedCertificate, readCertificate, renewalMs } from './certificate.ts';
import { AcmeFiles } from './files.ts';
import { HeldCertificates } from './held-certificates.ts';
import { LocalStore } from './local-store.ts';
import { makeKeyPem, OrderFailure, orderCertificate } from './order.ts';
import { type AcmeTimes, holdMs, pauseMs, TIMES } from './order-times.ts';
import { AcmeSharing } from './sharing.ts';
import type { AcmeChallenges, AcmeStore, Claim } from './store.ts';
import { AcmeTables } from './tables.ts';

/** A clock that was set is seen by then. */
const MAX_SLEEP_MS = 3_600_000;
const STORE_RETRY_MS = 30_000;
/** Orders at once. */
const LANES = 4;

interface AcmeManagerOptions {
  settings: AcmeSettings;
  names: readonly string[];
  /** Those that the manager before this one served. */
  before?: readonly IssuedCertificate[];
  /** The database that machines share; null: this machine is alone. */
  database: Database | null;
  /** Resolves once all workers of this machine answer these challenges; never rejects. */
  tellWorkers: (challenges: readonly AcmeChallenge[]) => Promise<void>;
  /** Called with all certificates after each change. */
  onChange: (certificates: readonly IssuedCertificate[]) => void;
  /** Called after each order. */
  onOrder: (result: 'ok' | 'failed') => void;
  events: Pick<EventLog, 'record'>;
  logger: Logger;
  /** For tests. */
  times?: Partial<AcmeTimes>;
}

export class AcmeManager {
  readonly #options: AcmeManagerOptions;
  readonly #times: AcmeTimes;
  readonly #files: AcmeFiles;
  readonly #store: AcmeStore;
  readonly #challenges: AcmeChallenges;
  readonly #held: HeldCertificates;
  /** The names of which the log says already when the next attempt begins. */
  readonly #saidWaits = new Set<string>();
  /** Whether the store failed last time; that is the same for all names. */
  #isStoreFailing = false;
  readonly #stop = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  /** The constructor reads the certificates that are in the folder; it contacts nobody. */
  constructor(options: AcmeManagerOptions) {
    const { settings, names, before = [], database, tellWorkers, onChange, times, events, logger } = options;
    this.#options = options;
    this.#times = { ...TIMES, ...times };
    const { lookMs } = this.#times;
    const { directory, storage } = settings;
    const files = new AcmeFiles(storage, directory);
    this.#files = files;
    if (database === null) {
      const local = new LocalStore(files, tellWorkers);
      this.#store = local;
      this.#challenges = local;
    } else {
      const tables = new AcmeTables(database, directory);
      this.#store = tables;
      this.#challenges = new AcmeSharing({
        database,
        tables,
        names,
        tellWorkers,
        onCertificate: (name, pem) => this.#held.adopt(name, pem),
        onMissing: (name) => this.#held.forget(name),
        onOthers: (certificates) => this.#held.adoptForeign(certificates),
        onLooked: () => this.#held.publishNewer(),
        lookMs,
        logger,
      });
    }
    this.#held = new HeldCertificates({
      files,
      store: this.#store,
      lookMs,
      before,
      onChange,
      events,
      logger,
    });
    void this.#tolerate('drafts in acme.storage cannot be removed', () => files.removeDrafts());
    for (const name of names) this.#held.load(name);
  }

  /** Those that can be served now. */
  get certificates(): IssuedCertificate[] {
    return this.#held.all;
  }

  /** How many names have no certificate of this authority, or one that is due for renewal. */
  get dueCount(): number {
    return this.#options.names.filter((name) => this.#dueInMs(name) <= 0).length;
  }

  /** Names for which no certificate has been issued yet. */
  get missing(): string[] {
    return this.#options.names.filter((name) => !this.#held.has(name));
  }

  /** prepare takes over the certificates of other machines. It takes five seconds at most; never rejects. */
  async prepare(): Promise<void> {
    await this.#challenges.prepare?.();
  }

  /** start begins to fetch and to renew, until stopOrders. */
  start(): void {
    const names = this.missing;
    if (names.length > 0)
      this.#options.logger.info(
        { names },
        'certificates are missing and will be fetched; until then handshakes fail, unless a file is for the name',
      );
    this.#loop = this.#run();
  }

  /**
   * stopOrders gives up the orders that are under way, and begins no other. Challenges of other machines are still answered.
   */
  stopOrders(): void {
    this.#stop.abort(new Error('Sluice stops'));
  }

  /** close ends everything. */
  async close(): Promise<void> {
    this.stopOrders();
    await this.#loop;
    await this.#challenges.close?.();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    await this.#challenges.start?.();
    while (!signal.aborted) {
      const waitMs = await this.#careForAll(signal);
      await sleep(waitMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  /** Returns how long nothing needs to be done for any name. */
  async #careForAll(signal: AbortSignal): Promise<number> {
    let waitMs = MAX_SLEEP_MS;
    // All lanes take their names from it.
    const names = this.#options.names.values();
    const runLane = async (): Promise<void> => {
      for (const name of names) {
        const ownMs = signal.aborted ? 0 : await this.#care(name);
        waitMs = Math.min(waitMs, ownMs);
      }
    };
    await Promise.all(Array.from({ length: LANES }, runLane));
    return waitMs;
  }

  /** Below 0 once it is due. */
  #dueInMs(name: string): number {
    const held = this.#held.get(name);
    return held === undefined ? 0 : renewalMs(held) - systemClock.wallMs();
  }

  /** Orders a certificate for the name if it is time to. Returns how long nothing needs to be done for it; never rejects. */
  async #care(name: string): Promise<number> {
    const dueInMs = this.#dueInMs(name);
    if (dueInMs > 0) {
      this.#saidWaits.delete(name);
      return dueInMs;
    }
    try {
      const known = this.#held.known(name);
      const claim = await this.#store.claim(name, known, (count) => holdMs(this.#times, count));
      this.#isStoreFailing = false;
      if (claim.pem !== null && claim.pem !== known) this.#held.adopt(name, claim.pem);
      if (!claim.isGranted) {
        this.#sayWait(name, claim);
        return claim.waitMs;
      }
      const { failures, waitMs } = await this.#order(name, claim.failures);
      await this.#store.settle(name, failures, waitMs);
      return waitMs;
    } catch (thrown) {
      const level = this.#isStoreFailing ? 'debug' : 'error';
      this.#isStoreFailing = true;
      const text = 'a certificate is due, but its order cannot begin';
      this.#options.logger[level]({ err: toError(thrown), name }, text);
      return STORE_RETRY_MS;
    }
  }

  /** Says once when the next attempt begins: after a restart nothing else would. */
  #sayWait(name: string, { failures, waitMs }: Claim): void {
    if (this.#dueInMs(name) > 0 || waitMs === 0 || this.#saidWaits.has(name)) return;
    this.#saidWaits.add(name);
    const facts = { name, failures, nextAttemptSec: Math.round(waitMs / 1000) };
    this.#options.logger.info(facts, 'a certificate is due, and its next order waits');
  }

  /**
   * Returns what is to be settled. After success too a pause follows, whatever lifetime the authority gave the certificate.
   */
  async #order(name: string, failures: number): Promise<Pick<Claim, 'failures' | 'waitMs'>> {
    const { events, onOrder } = this.#options;
    const about = { kind: 'certificate', subject: name } as const;
    try {
      const certificate = readCertificate(await this.#fetch(name), name);
      assertValidAt(certificate, systemClock.wallMs());
      this.#held.keep(certificate);
      onOrder('ok');
      const notAfter = new Date(certificate.notAfterMs).toISOString();
      const text = `the certificate of ${name} was obtained; it expires on ${notAfter}`;
      const data = { name, notAfter };
      events.record({ ...about, severity: 'info', text, data }, { line: 'certificate obtained' });
      await this.#held.publish(certificate);
      return { failures: 0, waitMs: pauseMs(this.#times, 1) };
    } catch (thrown) {
      // An order that this process gives up has not failed. A pause keeps a loop of restarts from the authority.
      if (this.#stop.signal.aborted) return { failures: failures - 1, waitMs: pauseMs(this.#times, 1) };
      const askedMs = thrown instanceof OrderFailure ? thrown.retryAfterMs : 0;
      const waitMs = pauseMs(this.#times, failures, askedMs);
      const held = this.#held.get(name);
      const facts = {
        err: toError(thrown instanceof OrderFailure ? thrown.cause : thrown),
        name,
        failures,
        nextAttemptSec: Math.round(waitMs / 1000),
        notAfter: held === undefined ? null : new Date(held.notAfterMs).toISOString(),
      };
      onOrder('failed');
      this.#saidWaits.add(name);
      const text = `no certificate of ${name} was obtained: ${facts.err.message}`;
      events.record(
        { ...about, severity: 'error', text, data: facts },
        { line: 'no certificate was obtained' },
      );
      return { failures, waitMs };
    }
  }

  async #fetch(name: string): Promise<string> {
    const { directory, email, ca } = this.#options.settings;
    const { orderMs, requestMs } = this.#times;
    return orderCertificate({
      directory,
      email,
      ca: ca?.pem ?? null,
      accountKeyPem: await this.#accountKey(),
      name,
      orderMs,
      requestMs,
      signal: this.#stop.signal,
      openChallenge: (...opened) => this.#challenges.openChallenge(...opened),
      closeChallenge: async (token) => {
        const close = () => this.#challenges.closeChallenge(token);
        await this.#tolerate('an ACME challenge stays open until it expires', close);
      },
    });
  }

  /** With a database the file is a copy, which an order can do without. */
  async #accountKey(): Promise<string> {
    const text = 'the key of the ACME account is not in acme.storage';
    const saved = await this.#tolerate(text, () => this.#files.accountKeyPem);
    const pem = await this.#store.accountKey(saved ?? (await makeKeyPem()));
    if (pem !== saved) await this.#tolerate(text, () => this.#files.saveAccountKey(pem));
    return pem;
  }

  /** Logs what fails, and goes on. */
  async #tolerate<T>(text: string, act: () => T | Promise<T>): Promise<T | null> {
    try {
      return await act();
    } catch (thrown) {
      this.#options.logger.warn({ err: toError(thrown) }, text);
      return null;
    }
  }
}
