/** The database that the settings ask for: a real server, or the embedded one in its folder. */
import type { Settings } from '../contract/settings.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { EmbeddedPostgres, type EmbeddedPostgresOptions } from '../infra/postgres/embedded-postgres.ts';
import { Database } from '../infra/postgres/postgres.ts';
import { withDeadline } from '../infra/with-deadline.ts';

/** A reload waits this long for the clock of the database, once the difference from this machine's is known. */
const CLOCK_MS = 500;

export interface Storage {
  readonly database: Database;
  /**
   * The database's time, in which versions of limits are dated; µs since the epoch. While the database is away, or silent for
   * CLOCK_MS: this machine's time, corrected by the last known difference. Never rejects.
   */
  nowUs(): Promise<number>;
  /** Resolves when statements can be answered. Rejects when the first start of the embedded database failed; it tries again. */
  readonly ready: Promise<void>;
  /** Whether nobody has ever used the embedded database: the first statement creates it. */
  readonly isUnused: boolean;
  /** lend lets another process have the embedded database. Meanwhile statements fail with database_starting. */
  lend(): Promise<void>;
  /** takeBack ends that, if it is lent. Throws LbError folder_locked while the other one has it. */
  takeBack(): void;
  close(): Promise<void>;
}

/**
 * openStorage is called by PrimaryParts and by `sluice migrate`. Throws LbError folder_locked when the embedded folder is
 * in use. @param options for the embedded database
 */
export function openStorage(
  settings: Settings['database'],
  logger: Logger,
  options: Omit<EmbeddedPostgresOptions, 'folder' | 'logger'>,
): Storage {
  if (settings.url === null)
    return new EmbeddedPostgres({ folder: settings.embeddedPath, logger, ...options });
  const database = new Database({ target: { kind: 'url', url: settings.url }, logger });
  return {
    database,
    nowUs: clockOf(database, logger),
    ready: Promise.resolve(),
    isUnused: false,
    // A server has room for both.
    lend: async () => undefined,
    takeBack: () => undefined,
    close: () => database.close(),
  };
}

function clockOf(database: Database, logger: Logger): Storage['nowUs'] {
  let aheadUs: number | null = null;
  return async () => {
    try {
      const asked = database.nowUs();
      const nowUs = await (aheadUs === null ? asked : withDeadline(asked, CLOCK_MS, 'the clock'));
      aheadUs = nowUs - wallUs();
      return nowUs;
    } catch (error) {
      logger.warn(
        { err: error },
        'the time of the database is not known; the limits of this revision are dated by the clock of this machine',
      );
      return wallUs() + (aheadUs ?? 0);
    }
  };
}

function wallUs(): number {
  return Date.now() * 1000;
}
