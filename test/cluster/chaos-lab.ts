/** The faults of `make chaos`, a few seconds each. Only bars that do not depend on the speed of the machine count here. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import type { Fault } from '../../bench/chaos/fault.ts';
import { sluiceFrom } from '../../bench/chaos/subjects/sluice.ts';
import { runChaos } from '../../bench/chaos/suite.ts';

/** proveFaults makes a test of each fault. */
export function proveFaults(faults: readonly Fault[]): void {
  for (const fault of faults) {
    const skip = fault.missing?.() || false;
    test(`make chaos: ${fault.title}, and each exact bar is reached`, { skip }, async (t) => {
      const seed = randomInt(1_000_000);
      const { faults: results } = await runChaos({
        ...{
          faults: [fault],
          kind: sluiceFrom('src/cli.ts'),
          seed,
          short: true,
          soakMin: 1,
          complete: false,
        },
        say: (line) => t.diagnostic(line),
      });
      const [result] = results;
      assert.equal(result?.problem, '', `seed ${seed}`);
      assert.ok(result.findings.length > 0);
      const missed = result.findings.filter(({ exact, reached }) => exact && reached === false);
      assert.deepEqual(missed, [], `seed ${seed}`);
    });
  }
}
