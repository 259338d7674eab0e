/** Temporary folders that are removed with their test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

const made = new Set<string>();
let hooked = false;

/** makeTempFolder returns the path of a new empty folder. removeTempFolder or the end of the process removes it. */
export function makeTempFolder(prefix = 'sluice-test-'): string {
  if (!hooked) {
    hooked = true;
    process.on('exit', () => {
      for (const folder of made) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    });
  }
  const folder = mkdtempSync(join(tmpdir(), prefix));
  made.add(folder);
  return folder;
}

/** tempFolder makes a folder that is removed at the end of the test. */
export function tempFolder(t: TestContext, prefix?: string): string {
  const folder = makeTempFolder(prefix);
  t.after(() => removeTempFolder(folder));
  return folder;
}

/** removeTempFolder removes a folder with everything in it. */
export function removeTempFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
  made.delete(folder);
}
