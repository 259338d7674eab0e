/**
 * An embedded database as `sluice migrate` makes it, copied instead of made again: making one takes longer than most tests
 * of whole processes. One serves all files of a run (TEST_RUN_FOLDER, see scripts/run-tests.ts), or a file that runs alone.
 */
import { cpSync, existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runToEnd } from './child.ts';
import { makeTempFolder, removeTempFolder } from './temp-folder.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
/** Where the product has it, seen from its working folder. */
const DATA = 'data/postgres/data';

let made: Promise<string> | null = null;

/** copyMadeDatabase puts one where a product looks for it whose working folder is `folder`; called by startSluice. */
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
  const env = { DATABASE_URL: undefined, NODE_TEST_CONTEXT: undefined };
  const run = await runToEnd(process.execPath, [CLI, 'migrate', '--config', config], { cwd: draft, env });
  if (run.code !== 0) throw new Error(`no database was made:\n${[...run.stdout, ...run.stderr].join('\n')}`);
  try {
    renameSync(join(draft, DATA), path);
  } catch (error) {
    // Another file of the run made one meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
  }
  removeTempFolder(draft);
  return path;
}
