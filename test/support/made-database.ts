/**
 * A migrated embedded database for tests to copy, because making one takes longer than most tests. All test files of a run
 * share it (TEST_RUN_FOLDER, see scripts/run-tests.ts); a file that runs alone makes its own.
 */
import { cpSync, existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runToEnd } from './child.ts';
import { makeTempFolder, removeTempFolder } from './temp-folder.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
/** The product's folder for it, relative to the working folder. */
const DATA = 'data/postgres/data';

let made: Promise<string> | null = null;

/** copyMadeDatabase copies it into the working folder of a Sluice. startSluice calls it. */
export async function copyMadeDatabase(folder: string): Promise<void> {
  made ??= makeDatabase(process.env.TEST_RUN_FOLDER ?? makeTempFolder('sluice-made-'));
  cpSync(await made, join(folder, DATA), { recursive: true });
}

async function makeDatabase(runFolder: string): Promise<string> {
  const path = join(runFolder, 'made-database');
  if (existsSync(path)) return path;
  const draft = makeTempFolder('sluice-made-');
  const config = join(draft, 'sluice.yaml');
  writeFileSync(config, 'pools: { app: { backends: [{ url: "http://127.0.0.1:1" }] } }\n');
  const env = { DATABASE_URL: undefined };
  const run = await runToEnd(process.execPath, [CLI, 'migrate', '--config', config], { cwd: draft, env });
  if (run.code !== 0)
    throw new Error(`cannot make the database:\n${[...run.stdout, ...run.stderr].join('\n')}`);
  try {
    renameSync(join(draft, DATA), path);
  } catch (error) {
    // Another test file of the run was faster.
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
  }
  removeTempFolder(draft);
  return path;
}
