/** The manager of certificates that the settings in force ask for; there is none without the block `acme`. */
import { isDeepStrictEqual } from 'node:util';
import { toError } from '../../contract/errors.ts';
import type { Settings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { Database } from '../../infra/postgres/postgres.ts';
import type { EventLog } from '../events/event-log.ts';
import type { MetricsCollector } from '../metrics/metrics-collector.ts';
import type { WorkerBriefing } from '../worker-briefing.ts';
import type { IssuedCertificate } from './certificate.ts';
import type { AcmeManager } from './manager.ts';

interface AcmeServiceOptions {
  database: Database;
  briefing: Pick<WorkerBriefing, 'tellChallenges'>;
  collector: Pick<MetricsCollector, 'count'>;
  /** Called with all certificates that can be served, at the start and after each change. */
  onCertificates: (certificates: readonly IssuedCertificate[]) => void;
  events: Pick<EventLog, 'record'>;
  logger: Logger;
}

export class AcmeService {
  readonly #options: AcmeServiceOptions;
  /** The block `acme`, the names and the database that the manager has. */
  #wanted: { acme: Settings['acme']; names: string[]; url: string | null } = {
    acme: null,
    names: [],
    url: null,
  };
  #manager: AcmeManager | null = null;
  #started = false;
  /** Changes run one after the other. */
  #changing: Promise<void> = Promise.resolve();

  /** Made once by PrimaryParts. */
  constructor(options: AcmeServiceOptions) {
    this.#options = options;
  }

  /**
   * configure takes the settings of a new revision. Resolves once the certificates in the folder and in the database are known,
   * after five seconds at the latest; never rejects.
   */
  configure(settings: Settings): Promise<void> {
    this.#changing = this.#changing
      .then(() => this.#change(settings))
      .catch((thrown: unknown) =>
        this.#options.logger.error({ err: toError(thrown) }, 'ACME cannot be started'),
      );
    return this.#changing;
  }

  /** start begins to fetch and to renew; called once workers serve, which must answer the challenges. */
  start(): void {
    this.#started = true;
    this.#manager?.start();
  }

  /**
   * stopOrders is called when a drain begins: soon nobody answers challenges here. Those of other machines are answered
   * until close.
   */
  stopOrders(): void {
    this.#started = false;
    this.#manager?.stopOrders();
  }

  /** How many names have no certificate of the authority, or one that is due for renewal. */
  get dueCount(): number {
    return this.#manager?.dueCount ?? 0;
  }

  /** Names for which no certificate has been issued yet. */
  get missing(): string[] {
    return this.#manager?.missing ?? [];
  }

  async close(): Promise<void> {
    await this.#changing;
    await this.#manager?.close();
  }

  async #change({ listen, acme, database }: Settings): Promise<void> {
    const names = [...new Set(listen.flatMap(({ tls }) => tls?.acme ?? []))];
    const wanted = { acme, names, url: database.url };
    if (isDeepStrictEqual(wanted, this.#wanted)) return;
    const isOther = acme?.directory !== this.#wanted.acme?.directory;
    this.#wanted = wanted;
    const before = (this.#manager?.certificates ?? []).map((each) => ({
      ...each,
      isForeign: each.isForeign || isOther,
    }));
    await this.#manager?.close();
    this.#manager = null;
    const { briefing, collector, onCertificates, events, logger } = this.#options;
    if (acme === null) return;
    // Loaded only where it is used.
    const { AcmeManager } = await import('./manager.ts');
    this.#manager = new AcmeManager({
      settings: acme,
      names,
      before,
      database: database.url === null ? null : this.#options.database,
      tellWorkers: (challenges) => briefing.tellChallenges(challenges),
      onChange: onCertificates,
      onOrder: (result) => collector.count('sluice_acme_orders_total', [result]),
      events,
      logger,
    });
    onCertificates(this.#manager.certificates);
    await this.#manager.prepare();
    if (this.#started) this.#manager.start();
  }
}
