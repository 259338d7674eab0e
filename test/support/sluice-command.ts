/** The command `sluice`, for what tests run by a shell. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { CLI } from './product.ts';
import { tempFolder } from './temp-folder.ts';

/** sluiceCommand returns an environment in which `sluice` is the product, and nothing names a configuration or a store. */
export function sluiceCommand(t: TestContext): Record<string, string> {
  const folder = tempFolder(t);
  writeFileSync(join(folder, 'sluice'), `#!/bin/sh\nexec '${process.execPath}' '${CLI}' "$@"\n`, {
    mode: 0o755,
  });
  // On a terminal curl shows no progress beside an answer.
  writeFileSync(join(folder, '.curlrc'), 'no-progress-meter\n');
  const unset = Object.fromEntries(['CONFIG_PATH', 'REDIS_URL', 'DATABASE_URL'].map((name) => [name, '']));
  return { ...unset, CURL_HOME: folder, PATH: `${folder}:${process.env.PATH}` };
}
