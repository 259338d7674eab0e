/** The database that the settings ask for: a real server, or the embedded one in its folder. */
import type { Settings } from '../contract/settings.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { EmbeddedPostgres } from '../infra/postgres/embedded-postgres.ts';
import { Database } from '../infra/postgres/postgres.ts';

export interface Storage {
  database: Database;
  /**
   * The database's time, in which versions of limits are dated; µs since the epoch. While the database is away: this machine's
   * time, corrected by the last known difference. Never rejects.
   */
  nowUs(): Promise<number>;
  /** Resolves when statements can be answered: with the embedded database after its first start, failed or not. Never rejects. */
  opened: Promise<void>;
  /** Whether nobody has ever used the embedded database: the first statement creates it. */
  isUnused: boolean;
  close(): Promise<void>;
}

/** openStorage is called by the primary's main. Throws LbError folder_locked when the embedded folder is in use. */
export function openStorage(settings: Settings['database'], logger: Logger): Storage {
  if (settings.url === null) {
    const folder = settings.embeddedPath;
    const embedded = new EmbeddedPostgres({ folder, purpose: 'sluice serve', logger, lazy: true });
    return {
      database: embedded.database,
      // The embedded database's clock is this machine's.
      nowUs: () => Promise.resolve(wallUs()),
      // The server logs a failed start itself, and tries again.
      opened: embedded.ready.catch(() => undefined),
      isUnused: embedded.unused,
      close: () => embedded.close(),
    };
  }
  const database = new Database({ target: { kind: 'url', url: settings.url }, logger });
  return {
    database,
    nowUs: clockOf(database, logger),
    opened: Promise.resolve(),
    isUnused: false,
    close: () => database.close(),
  };
}

function clockOf(database: Database, logger: Logger): Storage['nowUs'] {
  let aheadUs = 0;
  return async () => {
    try {
      const nowUs = await database.nowUs();
      aheadUs = nowUs - wallUs();
      return nowUs;
    } catch (error) {
      logger.warn(
        { err: error },
        'the time of the database is not known; the limits of this revision are dated by the clock of this machine',
      );
      return wallUs() + aheadUs;
    }
  };
}

function wallUs(): number {
  return Date.now() * 1000;
}
