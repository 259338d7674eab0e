/**
 * Whether this Node.js can run Sluice. Node.js of any age loads this file before all others, so it has no imports and no
 * syntax newer than ECMAScript modules.
 */

/** Equal to `engines` in package.json; a test compares them. */
export const NODE_RANGE = '>=24.18.1 <25 || >=26.5.1';

/** nodeProblem says in one sentence why a version (`process.versions.node`) cannot run Sluice; null when it can. */
export function nodeProblem(version: string): string | null {
  const [major = 0, minor = 0, patch = 0] = version.split('-')[0]!.split('.').map(Number);
  const number = major * 1e6 + minor * 1e3 + patch;
  // The oldest release of each line that has the request-desync fix; lines between them never got it.
  const fits = (major === 24 && number >= 24018001) || number >= 26005001;
  return fits ? null : `Sluice needs Node.js ${NODE_RANGE}, this is ${version}.`;
}
