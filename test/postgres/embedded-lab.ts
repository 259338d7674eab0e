/** For the tests of the embedded database: data that is made once, and databases that the test closes. */
import type { TestContext } from 'node:test';
import {
  EmbeddedPostgres,
  type EmbeddedPostgresOptions,
} from '../../src/infra/postgres/embedded-postgres.ts';
import { preparedData } from '../support/made-once.ts';
import { silent } from './support.ts';

/** Making one takes about 4 s; the machine may be busy. */
export const START = { timeoutMs: 60_000 };

/** For tests that are not about making the data. Nobody may change it. */
export const PREPARED = { preparedData: await preparedData() };

/** openEmbedded starts a database that the test closes. */
export function openEmbedded(t: TestContext, folder: string, options: Partial<EmbeddedPostgresOptions> = {}) {
  const embedded = new EmbeddedPostgres({ folder, purpose: 'a test', logger: silent, ...options });
  t.after(() => embedded.close());
  return embedded;
}
