import { fileURLToPath } from 'node:url';

/**
 * The file that tests start the product by. A run of many files starts what ships (scripts/bundle.ts), which takes a fifth less CPU time; a
 * file that runs alone starts src/.
 */
export const CLI = process.env.TEST_CLI ?? fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
