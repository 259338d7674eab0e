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
  /** Resolves once the workers of this machine know what was written before the call. */
  whenTold: () => Promise<unknown>;
}

export class ApiKeyService {
  readonly #options: ApiKeyServiceOptions;

  constructor(options: ApiKeyServiceOptions) {
    this.#options = options;
  }

  /** Every worker of this machine accepts the key once this has resolved. Throws client_not_found, secret_missing, or as Database. */
  async issue(clientId: string, name: string | null): Promise<IssuedKey> {
    const { repository, secret, clock, whenTold } = this.#options;
    const { key: signingKey, id: secretId } = await secret.ensure(() => repository.hasKeys());
    const { keyId, key } = makeApiKey(clock.wallMs(), randomBytes);
    const digest = digestOf(signingKey, key);
    const view = await repository.insert({ keyId, clientId, name, digest, secretId });
    await whenTold();
    return { ...view, key };
  }

  /** As ApiKeyRepository.list. */
  list(clientId: string, page: { limit: number; after: string | null }): Promise<ApiKeyPage> {
    return this.#options.repository.list(clientId, page);
  }

  /** Throws key_not_found, client_not_found. Every worker of every machine refuses the key within a second. */
  revoke(clientId: string, keyId: string): Promise<void> {
    return this.#options.repository.remove(clientId, keyId);
  }
}
