import { readFileSync } from 'node:fs';
import { productFile } from './product-files.ts';

/** sluiceVersion is the product's version, from package.json. */
export function sluiceVersion(): string {
  return JSON.parse(readFileSync(productFile('package.json'), 'utf8')).version;
}
