/** Issuing, listing and revoking keys, for the admin API. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../contract/clock.ts';
import { digestOf, makeApiKey } from './api-key.ts';
import type { ApiKeyPage, ApiKeyRepository, ApiKeyView } from './api-key-repository.ts';
import type { ApiKeySecret } from './api-key-secret.ts';

/** IssuedKey holds the key itself: shown to whoever asked for it, kept nowhere. */
export interface IssuedKey extends ApiKeyView {
  key: string;
}

interface ApiKeyServiceOptions {
  repository: ApiKeyRepository;
  secret: ApiKeySecret;
  clock: Pick<Clock, 'wallMs'>;
}

export class ApiKeyService {
  readonly #repository: ApiKeyRepository;
  readonly #secret: ApiKeySecret;
  readonly #clock: Pick<Clock, 'wallMs'>;

  constructor({ repository, secret, clock }: ApiKeyServiceOptions) {
    this.#repository = repository;
    this.#secret = secret;
    this.#clock = clock;
  }

  /** Throws client_not_found, secret_missing, or what Database throws; the key counts only once this has resolved. */
  async issue(clientId: string, name: string | null): Promise<IssuedKey> {
    const secret = this.#secret.ensure();
    const { keyId, key } = makeApiKey(this.#clock.wallMs(), randomBytes);
    const digest = digestOf(secret.key, key);
    const view = await this.#repository.insert({ keyId, clientId, name, digest, secretId: secret.id });
    return { ...view, key };
  }

  /** As ApiKeyRepository.list. */
  list(clientId: string, page: { limit: number; after: string | null }): Promise<ApiKeyPage> {
    return this.#repository.list(clientId, page);
  }

  /** Throws key_not_found, client_not_found. Every worker of every machine refuses the key within a second. */
  revoke(clientId: string, keyId: string): Promise<void> {
    return this.#repository.remove(clientId, keyId);
  }
}
