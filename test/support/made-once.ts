/**
 * What takes long to make, made once for all test files of a run (TEST_RUN_FOLDER, see scripts/run-tests.ts); a file that runs alone
 * makes its own. Nobody may change it.
 */
import { existsSync, mkdirSync, renameSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runToEnd } from './child.ts';
import { makeTempFolder } from './temp-folder.ts';
import { waitFor } from './wait.ts';

const SCRIPTS = fileURLToPath(new URL('../../scripts/', import.meta.url));
const TIMEOUT_MS = 120_000;
const made = new Map<string, Promise<string>>();

/** builtDist returns the path of a finished `dist`, as `make build` makes it. */
export const builtDist = async (): Promise<string> => madeOnce('dist', 'build.ts', await preparedData());

/** preparedData returns the path of a new embedded database, migrated, as it ships in `dist`. */
export const preparedData = (): Promise<string> => madeOnce('prepared-data', 'prepare-data.ts');

function madeOnce(name: string, script: string, ...args: string[]): Promise<string> {
  let path = made.get(name);
  if (path === undefined) {
    path = makeIn(process.env.TEST_RUN_FOLDER ?? makeTempFolder('sluice-made-'), name, [script, ...args]);
    made.set(name, path);
  }
  return path;
}

async function makeIn(folder: string, name: string, [script, ...args]: string[]): Promise<string> {
  const [path, draft, lock] = ['', '.draft', '.lock'].map((suffix) => join(folder, name + suffix)) as [
    ...[string, string, string],
  ];
  await waitFor(`${name}, or the right to make it`, () => existsSync(path) || makesFolder(lock), {
    timeoutMs: 2 * TIMEOUT_MS,
  });
  if (existsSync(path)) return path;
  try {
    const ran = await runToEnd(process.execPath, [SCRIPTS + script, draft, ...args], {
      timeoutMs: TIMEOUT_MS,
    });
    if (ran.code !== 0) throw new Error(`cannot make ${name}:\n${[...ran.stdout, ...ran.stderr].join('\n')}`);
    renameSync(draft, path);
  } finally {
    rmdirSync(lock);
  }
  return path;
}

/** false: another test file of the run has made it, and makes what it stands for. */
function makesFolder(path: string): boolean {
  try {
    mkdirSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
}
