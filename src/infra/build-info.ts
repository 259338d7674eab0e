import { createRequire } from 'node:module';

/** sluiceVersion is the product's version, from package.json, which lies beside both src/ and dist/. */
export function sluiceVersion(): string {
  return createRequire(import.meta.url)('../../package.json').version;
}
