/** The database that the settings ask for: a real server, or the embedded one in its folder. */
import type { Settings } from '../contract/settings.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { EmbeddedPostgres } from '../infra/postgres/embedded-postgres.ts';
import { Database } from '../infra/postgres/postgres.ts';

export interface Storage {
  database: Database;
  /**
   * The time that versions of limits are measured in, µs since the epoch. While the database is away it is this machine's,
   * corrected by how far the two were apart when it last answered.
   */
  nowUs(): Promise<number>;
  /** Settles when asking the database begins to make sense: the embedded one takes seconds to start. Never rejects. */
  opened: Promise<void>;
  /** Whether nothing was ever written to the database: it opens with the first statement. */
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
    // The embedded database's clock is this machine's: there is no need to wait until it is up.
    return {
      database: embedded.database,
      nowUs: () => Promise.resolve(wallUs()),
      // It tells of a failed start itself, and tries again; the end of one that is stopped is none.
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
        'the database did not tell its time; limits of this load are dated by this machine',
      );
      return wallUs() + this.#aheadUs;
    }
  }
}

function wallUs(): number {
  return Date.now() * 1000;
}
