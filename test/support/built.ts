/**
 * What `make build` makes, for the tests of what ships. All test files of a run share it (TEST_RUN_FOLDER, see
 * scripts/run-tests.ts); a file that runs alone makes its own.
 */
import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runToEnd } from './child.ts';
import { makeTempFolder } from './temp-folder.ts';

const BUILD = fileURLToPath(new URL('../../scripts/build.ts', import.meta.url));

/** builtDist returns the path of a finished `dist`. Nobody may change what is in it. */
export async function builtDist(): Promise<string> {
  const path = join(process.env.TEST_RUN_FOLDER ?? makeTempFolder('sluice-built-'), 'dist');
  if (existsSync(path)) return path;
  const draft = join(makeTempFolder('sluice-built-'), 'dist');
  const built = await runToEnd(process.execPath, [BUILD, draft], { timeoutMs: 120_000 });
  if (built.code !== 0) throw new Error(`cannot build:\n${[...built.stdout, ...built.stderr].join('\n')}`);
  try {
    renameSync(draft, path);
  } catch (error) {
    // Another test file of the run was faster.
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
  }
  return path;
}
