/** The certificates that this machine serves, beside those in the folder and in the table that machines share. */
import { systemClock } from '../../contract/clock.ts';
import { toError } from '../../contract/errors.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { type IssuedCertificate, readCertificate, replaces } from './certificate.ts';
import type { AcmeFiles } from './files.ts';
import type { AcmeStore } from './store.ts';

interface HeldCertificatesOptions {
  files: AcmeFiles;
  store: Pick<AcmeStore, 'publish'>;
  /** Those that were served before, whichever authority issued them. */
  before: readonly IssuedCertificate[];
  /** Called with all certificates after each change. */
  onChange: (certificates: readonly IssuedCertificate[]) => void;
  logger: Logger;
}

/** HeldCertificates is made by AcmeManager. Whatever fails in it is logged, and the certificate that is there stays. */
export class HeldCertificates {
  readonly #options: HeldCertificatesOptions;
  readonly #held = new Map<string, IssuedCertificate>();
  /** Of other authorities; each is served until this one has issued another. */
  readonly #lent = new Map<string, IssuedCertificate>();
  /** The last certificate that was found in the table, good or bad. */
  readonly #seen = new Map<string, string>();

  constructor(options: HeldCertificatesOptions) {
    this.#options = options;
  }

  /** Those that are served, by name. */
  get all(): IssuedCertificate[] {
    const served = new Map([...this.#held, ...this.#lent]);
    return [...served.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** get finds the certificate of this authority. */
  get(name: string): IssuedCertificate | undefined {
    return this.#held.get(name);
  }

  /** known is what the table had when this machine last looked; a machine that knows another one must not order. */
  known(name: string): string | null {
    return this.#seen.get(name) ?? this.#held.get(name)?.pem ?? null;
  }

  /** load takes the certificate that is in the folder. Without a valid one it lends that of another authority. */
  load(name: string): void {
    const { files, before } = this.#options;
    const nowMs = systemClock.wallMs();
    const [own] = this.#read(name, files.folder);
    if (own !== undefined) this.#held.set(name, own);
    if (own !== undefined && own.notAfterMs > nowMs) return;
    const served = before.filter((each) => each.name === name);
    const others = [...served, ...files.otherFolders.flatMap((folder) => this.#read(name, folder))];
    for (const other of others.filter(({ notAfterMs }) => notAfterMs > nowMs)) {
      const lent = this.#lent.get(name);
      if (lent === undefined || replaces(other, lent, nowMs)) this.#lent.set(name, other);
    }
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
    const { logger } = this.#options;
    this.#seen.set(name, pem);
    const held = this.#held.get(name);
    if (held?.pem === pem) return;
    try {
      const certificate = readCertificate(pem, name);
      if (held !== undefined && !replaces(certificate, held, systemClock.wallMs())) return;
      this.keep(certificate);
      logger.info({ name }, 'certificate taken over from another machine');
    } catch (thrown) {
      logger.error({ err: toError(thrown), name }, 'a certificate in the database cannot be used');
    }
  }

  /** keep serves a certificate from now on, and saves it. */
  keep(certificate: IssuedCertificate): void {
    const { files, onChange, logger } = this.#options;
    const { name, pem } = certificate;
    this.#held.set(name, certificate);
    if (certificate.notAfterMs > systemClock.wallMs()) this.#lent.delete(name);
    onChange(this.all);
    try {
      files.saveCertificate(name, pem);
    } catch (thrown) {
      const facts = { err: toError(thrown), name, folder: files.folder };
      logger.error(facts, 'a certificate is served, but could not be saved');
    }
  }

  /** publish gives it to the other machines, which order one themselves until then; the next look tries again. */
  async publish({ name, pem }: IssuedCertificate): Promise<void> {
    try {
      await this.#options.store.publish(name, pem);
      this.#seen.set(name, pem);
    } catch (thrown) {
      this.#options.logger.warn({ err: toError(thrown), name }, 'a certificate is not shared yet');
    }
  }

  /** publishNewer is called after a look: it publishes what the table lacks, or has in a state that adopt refused. */
  async publishNewer(): Promise<void> {
    for (const certificate of this.#held.values()) {
      if (this.#seen.get(certificate.name) !== certificate.pem) await this.publish(certificate);
    }
  }
}
