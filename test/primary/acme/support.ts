/** Managers of certificates, and what answers their challenges. */
import { cpSync, readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import type { AcmeChallenge } from '../../../src/contract/messages.ts';
import type { IssuedCertificate } from '../../../src/primary/acme/certificate.ts';
import { AcmeManager } from '../../../src/primary/acme/manager.ts';
import { EventLog } from '../../../src/primary/events/event-log.ts';
import { startProxy } from '../../proxy/support.ts';
import type { Authority } from '../../support/pebble.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { keepLog } from '../workers/fixtures/harness.ts';

type ManagerOptions = ConstructorParameters<typeof AcmeManager>[0];

/** startAnswering opens a port on which a worker's part of Sluice answers challenges. */
export async function startAnswering(t: TestContext) {
  const challenges = new Map<string, string>();
  const proxy = await startProxy(t, { pools: [], routes: [], challenges });
  const tellWorkers = (open: readonly AcmeChallenge[]) => {
    challenges.clear();
    for (const { token, keyAuthorization } of open) challenges.set(token, keyAuthorization);
    return Promise.resolve();
  };
  return { port: proxy.port, tellWorkers, challenges };
}

/** copyOf copies what a manager has stored. */
export function copyOf(t: TestContext, folder: string): string {
  const copy = tempFolder(t);
  cpSync(folder, copy, { recursive: true });
  return copy;
}

/** startManager starts one that the test closes; its name is one.example, its pauses are short. */
export function startManager(
  t: TestContext,
  authority: Authority,
  options: Pick<ManagerOptions, 'tellWorkers'> & {
    storage: string;
    names?: string[];
    times?: ManagerOptions['times'];
    database?: ManagerOptions['database'];
  },
) {
  const { logger, lines } = keepLog();
  const orders: string[] = [];
  const changes: (readonly IssuedCertificate[])[] = [];
  const { directory } = authority;
  const ca = { path: authority.ca, pem: readFileSync(authority.ca, 'utf8') };
  const manager = new AcmeManager({
    settings: { directory, ca, email: 'ops@example.com', storage: options.storage },
    names: options.names ?? ['one.example'],
    database: options.database ?? null,
    tellWorkers: options.tellWorkers,
    onChange: (certificates) => changes.push(certificates),
    onOrder: (result) => orders.push(result),
    events: new EventLog(logger),
    logger,
    times: { firstPauseMs: 20, requestMs: 10_000, ...options.times },
  });
  manager.start();
  t.after(() => manager.close());
  return { manager, orders, changes, lines };
}
