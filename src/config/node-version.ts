/**
 * Whether this Node may run Sluice. Imported before anything else, by Nodes of any age: keep it free of imports and of
 * syntax younger than ECMAScript modules.
 */

/** The same as `engines` in package.json, where a test compares them. */
export const NODE_RANGE = '>=24.18.1 <25 || >=26.5.1';

/** Oldest release of each line that has the request-desync fix; lines between them never got it. */
const OLDEST_24 = [24, 18, 1];
const OLDEST_26 = [26, 5, 1];

/** nodeProblem says in one sentence why a version (`process.versions.node`) will not do; null when it will. */
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
