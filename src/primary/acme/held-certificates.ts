/** The certificates that this machine serves, beside those in the folder and in the table that machines share. */
import { systemClock } from '../../contract/clock.ts';
import { toError } from '../../contract/errors.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { type IssuedCertificate, readCertificate, replaces } from './certificate.ts';
import type { AcmeFiles } from './files.ts';

interface HeldCertificatesOptions {
  files: AcmeFiles;
  /** Where certificates are published: the table, or nowhere. */
  store: { publish(name: string, pem: string): Promise<void> };
  /** Called with all certificates after each change. */
  onChange: (certificates: readonly IssuedCertificate[]) => void;
  logger: Logger;
}

/** HeldCertificates is made by AcmeManager. Whatever fails in it is logged, and the certificate that is there stays. */
export class HeldCertificates {
  readonly #options: HeldCertificatesOptions;
  readonly #held = new Map<string, IssuedCertificate>();
  /** The last certificate that was found in the table, good or bad. */
  readonly #seen = new Map<string, string>();

  constructor(options: HeldCertificatesOptions) {
    this.#options = options;
  }

  get all(): IssuedCertificate[] {
    return [...this.#held.values()];
  }

  get(name: string): IssuedCertificate | undefined {
    return this.#held.get(name);
  }

  /** known is what the table had when this machine last looked; a machine that knows another one must not order. */
  known(name: string): string | null {
    return this.#seen.get(name) ?? this.#held.get(name)?.pem ?? null;
  }

  /** load takes the certificate that is in the folder. */
  load(name: string): void {
    const { files, logger } = this.#options;
    try {
      const pem = files.certificatePem(name);
      if (pem !== null) this.#held.set(name, readCertificate(pem, name));
    } catch (thrown) {
      const facts = { err: toError(thrown), name, folder: files.folder };
      logger.error(facts, 'a certificate in acme.storage cannot be used');
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
