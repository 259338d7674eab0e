/** Programs that tests use where they are installed; scripts/services.sh --tools installs those that are not part of a system. */
import { spawnSync } from 'node:child_process';
import type { TestContext } from 'node:test';

/**
 * hasTool tells whether a program is on the PATH. A test without it does nothing, and the end of the run says so. CI, which installs
 * all of them, sets SLUICE_NEED_TOOLS=1: there it throws.
 */
export function hasTool(t: Pick<TestContext, 'diagnostic'>, name: string): boolean {
  if (spawnSync('sh', ['-c', 'command -v "$0"', name], { timeout: 10_000 }).status === 0) return true;
  if (process.env.SLUICE_NEED_TOOLS === '1') throw new Error(`${name} is not installed`);
  return notTried(t, `${name} is not installed`);
}

/** notTried has the end of the run say why a test did nothing (scripts/run-tests.ts). @returns false */
export function notTried(t: Pick<TestContext, 'diagnostic'>, why: string): false {
  t.diagnostic(`not tried: ${why}`);
  return false;
}
