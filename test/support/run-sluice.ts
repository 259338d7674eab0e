/** Commands of the command line that end by themselves. */
import type { TestContext } from 'node:test';
import { spawnSluice } from './sluice.ts';

export interface Run {
  code: number | null;
  out: string;
  err: string;
}

/** runSluice runs a command in its own process and returns what it printed, without the last line end. */
export async function runSluice(
  t: TestContext,
  words: string[],
  options: Parameters<typeof spawnSluice>[1] = {},
): Promise<Run> {
  const child = spawnSluice(words, options);
  t.after(() => child.kill());
  const { code } = await child.exited;
  return { code, out: child.stdout.join('\n'), err: child.stderr.join('\n') };
}
