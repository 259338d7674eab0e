/**
 * An embedded database as `sluice migrate` makes it. Tests copy it, because making one takes longer than most tests of whole
 * processes. All files of a run share one (TEST_RUN_FOLDER, see scripts/run-tests.ts); a file that runs alone makes its own.
 */
import { cpSync, existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runToEnd } from './child.ts';
import { makeTempFolder, removeTempFolder } from './temp-folder.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
/** Where the product keeps it, relative to the working folder. */
const DATA = 'data/postgres/data';

let made: Promise<string> | null = null;

/** copyMadeDatabase copies it to where a Sluice with the working folder `folder` looks for it. startSluice calls it. */
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
  if (run.code !== 0) throw new Error(`no database was made:\n${[...run.stdout, ...run.stderr].join('\n')}`);
  try {
    renameSync(join(draft, DATA), path);
  } catch (error) {
    // Another test file of the run has made one meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
  }
  removeTempFolder(draft);
  return path;
}
