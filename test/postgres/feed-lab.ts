/** Clients and API keys as on one machine: a feed in the primary, and directories in workers, joined by IPC messages. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ApiKeySecret } from '../../src/clients/api-key-secret.ts';
import { ApiKeyStore } from '../../src/clients/api-key-store.ts';
import { ClientDirectory, type ClientsMessage } from '../../src/clients/client-directory.ts';
import { ClientRepository } from '../../src/clients/client-repository.ts';
import { DirectoryFeed, type DirectoryFeedOptions } from '../../src/clients/directory-feed.ts';
import { clientIdAt, isApiKeyAt, lengthAt } from '../../src/clients/packed-record.ts';
import { systemClock } from '../../src/contract/clock.ts';
import { parsePrimaryMessage, type WorkerMessage } from '../../src/contract/messages.ts';
import type { Database } from '../../src/infra/postgres/postgres.ts';
import { DirectoryStreams } from '../../src/primary/clients/directory-streams.ts';
import { makeTempFolder, removeTempFolder } from '../support/temp-folder.ts';
import { silent } from './support.ts';

interface Message extends ClientsMessage {
  /** Of clients and their tombstones. */
  ids: string[];
}

/**
 * attachWorker makes a directory that the feed fills as in a worker, and records the messages.
 *
 * @param rest what the worker waits for before it applies a message
 */
export function attachWorker(streams: DirectoryStreams, rest: () => Promise<unknown> = nextTurn) {
  const directory = new ClientDirectory(systemClock);
  const messages: Message[] = [];
  const listeners = new Set<(message: WorkerMessage) => void>();
  const exit = Promise.withResolvers<void>();
  let taken: Promise<unknown> = Promise.resolve();
  const informed = streams.attach({
    index: 0,
    exited: exit.promise,
    onMessage: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    send: (message) => {
      const parsed = parsePrimaryMessage(JSON.parse(JSON.stringify(message)));
      assert.ok(parsed?.type === 'clients', 'a worker would refuse this message');
      messages.push({ ...parsed, ids: idsOf(parsed) });
      taken = taken.then(rest).then(() => {
        assert.ok(directory.apply(parsed));
        for (const listener of listeners) listener({ type: 'clients-applied', part: parsed.part });
      });
    },
  });
  return { directory, messages, informed, exit: exit.resolve };
}

function idsOf({ records }: ClientsMessage): string[] {
  const bytes = Buffer.from(records, 'base64');
  const ids = [];
  for (let at = 0; at < bytes.length; at += lengthAt(bytes, at)) {
    if (!isApiKeyAt(bytes, at)) ids.push(clientIdAt(bytes, at));
  }
  return ids;
}

export interface LabOptions extends Partial<DirectoryFeedOptions> {
  configured?: string | null;
  /** The working folder, for the secret's file. */
  folder?: string;
  /** false: without NOTIFY, for tests of the poll. */
  notified?: boolean;
}

/** startFeed starts a feed and one worker; both end with the test. */
export function startFeed(t: TestContext, database: Database, options: LabOptions = {}) {
  const { configured = 'a secret of many machines', folder = makeTempFolder('sluice-keys-') } = options;
  if (options.notified === false) t.mock.method(database, 'listen', () => () => undefined);
  if (options.folder === undefined) t.after(() => removeTempFolder(folder));
  const path = join(folder, 'data', 'api-keys.secret');
  const secret = new ApiKeySecret({ configured, path, logger: silent });
  const feed = new DirectoryFeed({ database, secret, logger: silent, ...options });
  t.after(() => feed.close());
  const streams = new DirectoryStreams(feed);
  const worker = attachWorker(streams);
  const keys = worker.directory;
  const useSecret = () => keys.useSecret(secret.current?.text ?? null);
  secret.onChange(useSecret);
  useSecret();
  feed.start();
  const service = new ApiKeyStore({ database, secret });
  const clientOf = (key: string): string => {
    const found = keys.verify(key);
    return typeof found === 'string' ? found : found.clientId;
  };
  const repository = new ClientRepository(database);
  return { feed, streams, path, secret, keys, service, clientOf, repository, ...worker };
}
