/**
 * Whether this Node.js can run Sluice. Node.js of any age loads this file before all others, so it has no imports and no
 * syntax newer than ECMAScript modules.
 */

/** Equal to `engines` in package.json; a test compares them. */
export const NODE_RANGE = '>=24.18.1 <25 || >=26.5.1';

/** Oldest release of each line that has the request-desync fix; lines between them never got it. */
const OLDEST_24 = [24, 18, 1];
const OLDEST_26 = [26, 5, 1];

/** nodeProblem says in one sentence why a version (`process.versions.node`) cannot run Sluice; null when it can. */
export function nodeProblem(version: string): string | null {
  const numbers = version.split('-')[0]!.split('.').map(Number);
  const fits = (numbers[0] === 24 && reaches(numbers, OLDEST_24)) || reaches(numbers, OLDEST_26);
  return fits ? null : `Sluice needs Node.js ${NODE_RANGE}, this is ${version}.`;
}

function reaches(numbers: readonly number[], oldest: readonly number[]): boolean {
  for (let i = 0; i < oldest.length; i++) {
    if (numbers[i]! !== oldest[i]!) return numbers[i]! > oldest[i]!;
  }
  return true;
}
