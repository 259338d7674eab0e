/** The version, from package.json, which lies beside both src/ and dist/. */
import { readFileSync } from 'node:fs';

let version: string | null = null;

/** sluiceVersion is the product's version; for `version`, the build metric and the probes' User-Agent. */
export function sluiceVersion(): string {
  if (version === null) {
    const parsed: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    const found =
      typeof parsed === 'object' && parsed !== null && 'version' in parsed ? parsed.version : null;
    version = typeof found === 'string' ? found : 'unknown';
  }
  return version;
}
