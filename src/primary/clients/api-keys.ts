/** What the primary has of API keys: the secret, the tables' door, and the feed, which runs once settings ask for keys. */
import { ApiKeyFeed } from '../../clients/api-key-feed.ts';
import { ApiKeyRepository } from '../../clients/api-key-repository.ts';
import { ApiKeySecret } from '../../clients/api-key-secret.ts';
import { ApiKeyService } from '../../clients/api-key-service.ts';
import { systemClock } from '../../contract/clock.ts';
import type { Settings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { Storage } from '../storage.ts';
import { KeyStreams } from './key-streams.ts';

/** From the working folder, beside the embedded database. */
const SECRET_PATH = './data/api-keys.secret';

type KeySettings = Pick<Settings, 'rateLimit' | 'secrets'>;

interface PrimaryApiKeysOptions extends Pick<Storage, 'database' | 'opened'> {
  settings: KeySettings;
  logger: Logger;
}

export class PrimaryApiKeys {
  readonly service: ApiKeyService;
  readonly feed: ApiKeyFeed;
  readonly streams: KeyStreams;
  readonly #secret: ApiKeySecret;
  readonly #opened: Promise<void>;
  #following = false;

  constructor({ database, opened, settings, logger }: PrimaryApiKeysOptions) {
    this.#opened = opened;
    const repository = new ApiKeyRepository(database);
    this.#secret = new ApiKeySecret({ configured: settings.secrets.apiKeys, path: SECRET_PATH, logger });
    this.service = new ApiKeyService({ repository, secret: this.#secret, clock: systemClock });
    this.feed = new ApiKeyFeed({ database, repository, secret: this.#secret, logger });
    this.streams = new KeyStreams(this.feed);
    this.follow(settings);
  }

  /** Whether the keys in force may be old ones: for /readyz. */
  get degraded(): boolean {
    return this.#following && this.feed.degraded;
  }

  /** follow takes a revision's settings, before workers get them, and begins to read keys once they are wanted. */
  follow({ rateLimit, secrets }: KeySettings): void {
    this.#secret.configure(secrets.apiKeys);
    if (this.#following || rateLimit.identify.apiKeyHeader === null) return;
    this.#following = true;
    void this.#opened.then(() => this.feed.start());
  }

  /** waitForFirstLoad is true once the keys are known or where none are wanted, false when that took longer. */
  async waitForFirstLoad(timeoutMs: number): Promise<boolean> {
    return this.#following ? this.feed.waitForFirstLoad(timeoutMs) : true;
  }
}
