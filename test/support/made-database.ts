/** A migrated embedded database for tests to copy, because making one takes longer than most tests. */
import { cpSync } from 'node:fs';
import { basename, join } from 'node:path';
import { preparedData } from './made-once.ts';

/** The product's folder for it, relative to the working folder. */
const DATA = 'data/postgres/data';

/** copyMadeDatabase copies it into the working folder of a Sluice. startSluice calls it. */
export async function copyMadeDatabase(folder: string): Promise<void> {
  // Here, so that tests without a database load no driver.
  const { PLACEHOLDER } = await import('../../src/infra/postgres/embedded-postgres.ts');
  const filter = (path: string) => basename(path) !== PLACEHOLDER;
  cpSync(await preparedData(), join(folder, DATA), { recursive: true, filter });
}
