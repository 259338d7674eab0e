import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type LoadResult, loadConfig } from '../../src/config/load.ts';
import type { Environment } from '../../src/config/yaml-source.ts';
import { makeTempFolder, removeTempFolder } from './temp-folder.ts';

/** parseConfig is loadConfig for a text at hand. */
export function parseConfig(text: string, env: Environment): LoadResult {
  const folder = makeTempFolder();
  try {
    writeFileSync(join(folder, 'sluice.yaml'), text);
    return loadConfig(join(folder, 'sluice.yaml'), env);
  } finally {
    removeTempFolder(folder);
  }
}
