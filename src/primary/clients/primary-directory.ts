/** The primary's part of clients and API keys: what the admin API calls, the feed, and the streams to the workers. */
import { join } from 'node:path';
import { ApiKeySecret } from '../../clients/api-key-secret.ts';
import { ApiKeyStore } from '../../clients/api-key-store.ts';
import { ClientRepository } from '../../clients/client-repository.ts';
import { DirectoryFeed } from '../../clients/directory-feed.ts';
import { LbError } from '../../contract/errors.ts';
import type { PrimaryMessage } from '../../contract/messages.ts';
import type { Settings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { Database } from '../../infra/postgres/postgres.ts';
import { atMost } from '../../infra/with-deadline.ts';
import { DATA_FOLDER, pathInData } from '../data-folder.ts';
import type { EventLog } from '../events/event-log.ts';
import type { SettingsChange } from '../settings-change.ts';
import { inWords } from '../status/problems.ts';
import type { Storage } from '../storage.ts';
import { DirectoryStreams, type StreamLink } from './directory-streams.ts';

const SECRET_NAME = 'api-keys.secret';
/** A write waits at most this long for the feed and the workers: nobody is promised a change sooner than within a second. */
const TOLD_MS = 1_000;
/** A reload waits this long for the clients of another database. */
const LOAD_MS = 30_000;
/** And this long for the workers to have them. */
const MOVED_MS = 5_000;

/** PrimaryDirectory is made once by PrimaryParts. */
export class PrimaryDirectory {
  readonly clients: ClientRepository;
  readonly apiKeys: ApiKeyStore;
  /** Another one after a move to another database. */
  feed: DirectoryFeed;
  readonly streams: DirectoryStreams;
  readonly #secret: ApiKeySecret;
  readonly #storage: Storage;
  readonly #logger: Logger;
  readonly #events: Pick<EventLog, 'record'>;
  /** As in the settings. */
  #url: string | null;

  constructor(parts: {
    storage: Storage;
    settings: Pick<Settings, 'database' | 'secrets'>;
    events: Pick<EventLog, 'record'>;
    logger: Logger;
  }) {
    const { storage, settings, events, logger } = parts;
    const { database } = storage;
    this.#storage = storage;
    this.#logger = logger;
    this.#events = events;
    this.#url = settings.database.url;
    // Inside the embedded database's folder: whatever process finds the keys there finds the secret.
    const path = pathInData(settings.database, SECRET_NAME);
    const formerPath = join(DATA_FOLDER, SECRET_NAME);
    this.#secret = new ApiKeySecret({ configured: settings.secrets.apiKeys, logger, path, formerPath });
    this.clients = new ClientRepository(database);
    this.feed = this.#makeFeed(database);
    this.streams = new DirectoryStreams(this.feed);
    this.#secret.onChange(() => this.streams.sendAll(this.#secretMessage()));
    this.apiKeys = new ApiKeyStore({ database, secret: this.#secret });
  }

  /** start begins to load and follow once the database is open; an unused one has nobody to be loaded. */
  start(): void {
    if (this.#storage.isUnused) this.feed.startEmpty();
    // The embedded database logs a failed start itself.
    void this.#storage.ready.catch(() => undefined).then(() => this.feed.start());
  }

  /**
   * prepare loads everybody from the database of a coming revision, beside the one in force; called by a reload. null: it is the same
   * one. Throws LbError, as Database does, where that cannot be done, and has changed nothing then.
   * @param loadMs for tests
   */
  async prepare({ url }: Settings['database'], loadMs = LOAD_MS): Promise<SettingsChange | null> {
    if (url === null || url === this.#url) return null;
    const logger = this.#logger;
    const next = new Database({ target: { kind: 'url', url }, logger });
    const feed = this.#makeFeed(next);
    // At once: what the feed still reads could take minutes, and is cut.
    const cancel = () => Promise.all([feed.close(), next.close()]).then(() => undefined);
    feed.start();
    await atMost(feed.firstTry, loadMs);
    if (!feed.loaded) {
      const { failure } = feed;
      await cancel();
      const reason = failure?.message ?? `not within ${loadMs / 1_000} s`;
      throw new LbError(
        failure?.code ?? 'database_unavailable',
        `the new database cannot be read: ${reason}`,
      );
    }
    return { commit: () => this.#moveTo(url, next, feed), cancel, nowUs: () => next.nowUs() };
  }

  #moveTo(url: string, next: Database, feed: DirectoryFeed): () => Promise<void> {
    // Before the move: it would read everybody again, from the new database.
    const left = this.feed.close();
    const closeFormer = this.#storage.database.moveTo(next);
    this.#url = url;
    this.feed = feed;
    this.streams.follow(feed);
    return async () => {
      await atMost(this.streams.allTold(), MOVED_MS);
      await Promise.all([left, closeFormer()]);
    };
  }

  /** configure takes a revision's settings, before workers get them. */
  configure({ secrets }: Pick<Settings, 'secrets'>): void {
    this.#secret.configure(secrets.apiKeys);
  }

  /**
   * whenTold resolves once the workers of this machine know what was written before the call, or after TOLD_MS with the numbers of those
   * that may not. Needs no `this`.
   */
  readonly whenTold = async (): Promise<number[]> => {
    const caughtUp = this.feed.caughtUp();
    const isTold = await atMost(
      caughtUp.then(() => this.streams.allTold()),
      TOLD_MS,
    );
    return isTold ? [] : this.streams.untold({ all: !(await atMost(caughtUp, 0)) });
  };

  /** attach tells a new worker everything; as DirectoryStreams.attach. */
  attach(link: StreamLink): Promise<boolean> {
    link.send(this.#secretMessage());
    return this.streams.attach(link);
  }

  #makeFeed(database: Database): DirectoryFeed {
    const logger = this.#logger;
    const feed = new DirectoryFeed({
      ...{ database, secret: this.#secret, logger },
      // One that is not in force yet, or no more, tells whoever waits for it.
      onFailure: (failure) => {
        if (this.feed === feed) this.#record(failure);
      },
    });
    return feed;
  }

  /** The feed has written the line. */
  #record(failure: LbError | null): void {
    const name = this.#url === null ? 'the embedded database' : 'PostgreSQL';
    const why = failure === null ? '' : `: ${inWords(failure.message)}`;
    const text = failure === null ? `${name} can be read again` : `${name} cannot be read${why}`;
    const data = failure === null ? {} : { code: failure.code, reason: failure.message };
    this.#events.record(
      { kind: 'database', severity: failure === null ? 'info' : 'error', text, data },
      { line: null },
    );
  }

  #secretMessage(): PrimaryMessage {
    return { type: 'api-key-secret', secret: this.#secret.current?.text ?? null };
  }
}
