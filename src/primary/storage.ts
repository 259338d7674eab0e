/** The database that the settings ask for: a real server, or the embedded one in its folder. */
import type { Settings } from '../contract/settings.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { EmbeddedPostgres } from '../infra/postgres/embedded-postgres.ts';
import { Database } from '../infra/postgres/postgres.ts';

export interface Storage {
  database: Database;
  /**
   * The database's time, in which versions of limits are dated; µs since the epoch. While the database is away: this machine's
   * time, corrected by the last known difference.
   */
  nowUs(): Promise<number>;
  /** Resolves when statements can be answered: with the embedded database after its first start, failed or not. Never rejects. */
  opened: Promise<void>;
  /** Whether nobody has ever used the embedded database: the first statement makes it. */
  isUnused: boolean;
  close(): Promise<void>;
}

/** openStorage is called by `serve`. Throws LbError folder_locked when the embedded folder is in use. */
export async function openStorage(settings: Settings['database'], logger: Logger): Promise<Storage> {
  if (settings.url === null) {
    const embedded = await EmbeddedPostgres.open({
      folder: settings.embeddedPath,
      purpose: 'sluice serve',
      logger,
      lazy: true,
    });
    // The embedded database's clock is this machine's.
    return {
      database: embedded.database,
      nowUs: () => Promise.resolve(wallUs()),
      // The server logs a failed start itself, and tries again.
      opened: embedded.ready.catch(() => undefined),
      isUnused: embedded.unused,
      close: () => embedded.close(),
    };
  }
  const database = new Database({ target: { kind: 'url', url: settings.url }, logger });
  const clock = new DatabaseClock(database, logger);
  return {
    database,
    nowUs: () => clock.nowUs(),
    opened: Promise.resolve(),
    isUnused: false,
    close: () => database.close(),
  };
}

class DatabaseClock {
  readonly #database: Database;
  readonly #logger: Logger;
  #aheadUs = 0;

  constructor(database: Database, logger: Logger) {
    this.#database = database;
    this.#logger = logger;
  }

  async nowUs(): Promise<number> {
    try {
      const nowUs = await this.#database.nowUs();
      this.#aheadUs = nowUs - wallUs();
      return nowUs;
    } catch (error) {
      this.#logger.warn(
        { err: error },
        'the database did not tell its time; the limits of this revision are dated by this machine',
      );
      return wallUs() + this.#aheadUs;
    }
  }
}

function wallUs(): number {
  return Date.now() * 1000;
}
