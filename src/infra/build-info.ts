import { readFileSync } from 'node:fs';
import { productFile } from './product-files.ts';

/** Read once: an update replaces the file under a process that goes on as it began. */
const { version } = JSON.parse(readFileSync(productFile('package.json'), 'utf8'));

/** sluiceVersion is the version of the product that this process runs, from package.json. */
export function sluiceVersion(): string {
  return version;
}
