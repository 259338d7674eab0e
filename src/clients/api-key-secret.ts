/**
 * The secret behind API keys on this machine: the one of the settings, else one that is made with the first key and kept
 * in a file. Until there is one no key can have been issued here, and nothing needs to be written anywhere.
 */
import { LbError, toError } from '../contract/errors.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { ensureSecretFile, readSecretFile } from '../infra/secret-file.ts';
import { makeSigningSecret, type SigningSecret } from './api-key.ts';

interface ApiKeySecretOptions {
  /** The setting `secrets.apiKeys`; null: unset. */
  configured: string | null;
  /** File of the secret that is used where none is set. */
  path: string;
  logger: Pick<Logger, 'error'>;
}

export class ApiKeySecret {
  readonly #path: string;
  readonly #logger: Pick<Logger, 'error'>;
  readonly #listeners = new Set<() => void>();
  #configured: string | null;
  #current: SigningSecret | null = null;

  constructor({ configured, path, logger }: ApiKeySecretOptions) {
    this.#configured = configured;
    this.#path = path;
    this.#logger = logger;
    this.refresh();
  }

  /** null: there is none yet, or its file cannot be read. */
  get current(): SigningSecret | null {
    return this.#current;
  }

  /** onChange calls back when `current` has become another; for the feed. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** configure takes the setting of a new revision. */
  configure(configured: string | null): void {
    this.#configured = configured;
    this.refresh();
  }

  /** refresh looks at the file again where no secret is set: another process may have made it. */
  refresh(): void {
    const text = this.#configured ?? this.#read();
    if (text === (this.#current?.text ?? null)) return;
    this.#become(text === null ? null : makeSigningSecret(text));
  }

  /** ensure is for whoever issues a key. Throws LbError secret_missing where none is set and none can be made. */
  ensure(): SigningSecret {
    if (this.#current !== null) return this.#current;
    try {
      const made = makeSigningSecret(ensureSecretFile(this.#path));
      this.#become(made);
      return made;
    } catch (thrown) {
      throw new LbError(
        'secret_missing',
        `there is no secret for API keys: set secrets.apiKeys (${toError(thrown).message})`,
        { cause: thrown },
      );
    }
  }

  /** A front door that cannot read it serves all the same; callers with keys are counted by their addresses. */
  #read(): string | null {
    try {
      return readSecretFile(this.#path);
    } catch (thrown) {
      this.#logger.error(
        { err: toError(thrown) },
        'the secret of the API keys cannot be read; no key is accepted',
      );
      return null;
    }
  }

  #become(secret: SigningSecret | null): void {
    this.#current = secret;
    for (const listener of this.#listeners) listener();
  }
}
