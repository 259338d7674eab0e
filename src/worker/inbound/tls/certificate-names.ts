/** Finds the certificate for a name that a client asks for. */

/** CertificateNames is made with each change of certificates. Names are in lower case. */
export class CertificateNames<T> {
  readonly #exact = new Map<string, T>();
  /** By the part behind `*.`. */
  readonly #wildcards = new Map<string, T>();

  /** add gives a name to a certificate. A name that another one has already stays with that. */
  add(name: string, certificate: T): void {
    const [names, key] = name.startsWith('*.') ? [this.#wildcards, name.slice(2)] : [this.#exact, name];
    if (!names.has(key)) names.set(key, certificate);
  }

  /** find looks for the name itself, then for a wildcard, which stands for exactly one label. */
  find(asked: string): T | undefined {
    const name = asked.toLowerCase();
    const dot = name.indexOf('.');
    return this.#exact.get(name) ?? (dot > 0 ? this.#wildcards.get(name.slice(dot + 1)) : undefined);
  }
}
