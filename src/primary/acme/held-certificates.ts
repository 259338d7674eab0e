/** The certificates that this machine serves, beside those in the folder and in the table that machines share. */
import { systemClock } from '../../contract/clock.ts';
import { toError } from '../../contract/errors.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { EventLog } from '../events/event-log.ts';
import { type IssuedCertificate, readCertificate, replaces } from './certificate.ts';
import type { AcmeFiles } from './files.ts';
import type { AcmeStore } from './store.ts';

interface HeldCertificatesOptions {
  files: AcmeFiles;
  store: Pick<AcmeStore, 'publish'>;
  /** Between two looks at the table. */
  lookMs: number;
  /** Those that were served before; `isForeign` says of which authority. */
  before: readonly IssuedCertificate[];
  /** Called with all certificates after each change. */
  onChange: (certificates: readonly IssuedCertificate[]) => void;
  events: Pick<EventLog, 'record'>;
  logger: Logger;
}

/** HeldCertificates is made by AcmeManager. Whatever fails in it is logged, and the certificate that is there stays. */
export class HeldCertificates {
  readonly #options: HeldCertificatesOptions;
  readonly #held = new Map<string, IssuedCertificate>();
  /** Of other authorities; each is served until this one has issued another. */
  readonly #foreign = new Map<string, IssuedCertificate>();
  /** The last certificate that was found in the table, good or bad. */
  readonly #seen = new Map<string, string>();
  /** When publishNewer last published the certificate of a name. */
  readonly #publishedAtMs = new Map<string, number>();

  constructor(options: HeldCertificatesOptions) {
    this.#options = options;
  }

  /** Those that are served, by name. */
  get all(): IssuedCertificate[] {
    const served = new Map([...this.#held, ...this.#foreign]);
    return [...served.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** has tells whether there is one for a name, of this authority or of another. */
  has(name: string): boolean {
    return this.#held.has(name) || this.#foreign.has(name);
  }

  /** get finds the certificate of this authority. */
  get(name: string): IssuedCertificate | undefined {
    return this.#held.get(name);
  }

  /** known is what the table had when this machine last looked: where it has another one by now, this machine must not order. */
  known(name: string): string | null {
    return this.#seen.get(name) ?? this.#held.get(name)?.pem ?? null;
  }

  /**
   * load takes the certificate that is in the folder, or was served before. Without a valid one it serves that of
   * another authority.
   */
  load(name: string): void {
    const { files, before } = this.#options;
    const [own] = this.#read(name, files.folder);
    if (own !== undefined) this.#held.set(name, own);
    for (const each of before.filter((served) => served.name === name)) {
      if (each.isForeign) this.#serveForeign(each);
      // The folder is another one, or could not be written.
      else if (own === undefined || (own.pem !== each.pem && replaces(each, own, systemClock.wallMs()))) {
        this.#held.set(name, each);
        this.#save(each);
      }
    }
    if (!this.#hasValid(name))
      for (const folder of files.otherFolders) this.#read(name, folder).forEach(this.#serveForeign);
  }

  /** adoptForeign takes certificates of other authorities, for the names that have no valid one. */
  adoptForeign(certificates: readonly Pick<IssuedCertificate, 'name' | 'pem'>[]): void {
    const lacking = certificates.filter(({ name }) => !this.#hasValid(name));
    for (const { name, pem } of lacking) {
      try {
        this.#serveForeign(readCertificate(pem, name));
      } catch (thrown) {
        this.#logUnusable(name, thrown);
      }
    }
    if (lacking.length > 0) this.#options.onChange(this.all);
  }

  readonly #serveForeign = (certificate: IssuedCertificate): void => {
    const { name, notAfterMs } = certificate;
    const nowMs = systemClock.wallMs();
    const served = this.#foreign.get(name);
    if (
      notAfterMs > nowMs &&
      !this.#hasValid(name) &&
      (served === undefined || replaces(certificate, served, nowMs))
    )
      this.#foreign.set(name, { ...certificate, isForeign: true });
  };

  #hasValid(name: string): boolean {
    return (this.#held.get(name)?.notAfterMs ?? 0) > systemClock.wallMs();
  }

  #logUnusable(name: string, thrown: unknown): void {
    const facts = { err: toError(thrown), name };
    this.#options.logger.error(facts, 'a certificate in the database cannot be used');
  }

  /** None, where there is none that can be used. */
  #read(name: string, folder: string): IssuedCertificate[] {
    const { files, logger } = this.#options;
    try {
      const pem = files.certificatePem(name, folder);
      return pem === null ? [] : [readCertificate(pem, name)];
    } catch (thrown) {
      logger.error({ err: toError(thrown), name, folder }, 'a certificate in acme.storage cannot be used');
      return [];
    }
  }

  /** adopt takes a certificate of another machine, unless the one that is here is newer. */
  adopt(name: string, pem: string): void {
    const { events } = this.#options;
    this.#seen.set(name, pem);
    const held = this.#held.get(name);
    if (held?.pem === pem) return;
    try {
      const certificate = readCertificate(pem, name);
      if (held !== undefined && !replaces(certificate, held, systemClock.wallMs())) return;
      this.keep(certificate);
      const line = 'certificate taken over from another machine';
      const text = `${name}: ${line}`;
      events.record({ kind: 'certificate', severity: 'info', text, subject: name, data: { name } }, { line });
    } catch (thrown) {
      this.#logUnusable(name, thrown);
    }
  }

  /** forget notes that the table has no certificate for the name, perhaps no more: the one that is here is published again. */
  forget(name: string): void {
    this.#seen.delete(name);
  }

  /** keep serves a certificate from now on, and saves it. */
  keep(certificate: IssuedCertificate): void {
    const { name } = certificate;
    this.#held.set(name, certificate);
    if (this.#hasValid(name)) this.#foreign.delete(name);
    this.#options.onChange(this.all);
    this.#save(certificate);
  }

  #save({ name, pem }: IssuedCertificate): void {
    const { files, store, logger } = this.#options;
    try {
      files.saveCertificate(name, pem);
    } catch (thrown) {
      const facts = { err: toError(thrown), name, folder: files.folder };
      if (store.publish !== undefined) logger.info(facts, 'a certificate is kept in the database alone');
      else logger.error(facts, 'a certificate is served, but could not be saved');
    }
  }

  /** publish gives it to the other machines, which order one themselves until then; the next look tries again. */
  async publish({ name, pem }: IssuedCertificate): Promise<void> {
    try {
      await this.#options.store.publish?.(name, pem);
      this.#seen.set(name, pem);
    } catch (thrown) {
      this.#options.logger.warn({ err: toError(thrown), name }, 'a certificate is not shared yet');
    }
  }

  /**
   * publishNewer is called after a look: it publishes what the table lacks, or has in a state that adopt refused. A name waits
   * for `lookMs` after that: machines that judge differently would wake each other without a pause.
   */
  async publishNewer(): Promise<void> {
    for (const certificate of this.#held.values()) {
      const { name, pem } = certificate;
      const nowMs = systemClock.monotonicMs();
      const quietMs = nowMs - (this.#publishedAtMs.get(name) ?? Number.NEGATIVE_INFINITY);
      if (this.#seen.get(name) === pem || quietMs < this.#options.lookMs) continue;
      this.#publishedAtMs.set(name, nowMs);
      await this.publish(certificate);
    }
  }
}
