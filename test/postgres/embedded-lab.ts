/** For the tests of the embedded database: data that is made once, and databases that the test closes. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  EmbeddedPostgres,
  type EmbeddedPostgresOptions,
} from '../../src/infra/postgres/embedded-postgres.ts';
import { spawnChild } from '../support/child.ts';
import { makeTempFolder } from '../support/temp-folder.ts';
import { within } from '../support/wait.ts';
import { silent } from './support.ts';

/** Making one takes about 4 s; the machine may be busy. */
export const START = { timeoutMs: 60_000 };

const PREPARE_SCRIPT = fileURLToPath(new URL('../../scripts/prepare-data.ts', import.meta.url));
/** Data that is made once, for tests that are not about making it. */
export const PREPARED = { preparedData: join(makeTempFolder(), 'data') };
/** prepareData makes it; before all tests of a file. */
export async function prepareData(): Promise<void> {
  const script = spawnChild(process.execPath, [PREPARE_SCRIPT, PREPARED.preparedData]);
  assert.deepEqual(await within(script.exited, START.timeoutMs, 'the prepared data'), {
    code: 0,
    signal: null,
  });
}

/** openEmbedded starts a database that the test closes. */
export function openEmbedded(t: TestContext, folder: string, options: Partial<EmbeddedPostgresOptions> = {}) {
  const embedded = new EmbeddedPostgres({ folder, purpose: 'a test', logger: silent, ...options });
  t.after(() => embedded.close());
  return embedded;
}
