/**
 * Files that are there with their whole content or not at all, also after a loss of power. Each is written beside its place first, as
 * a draft, and flushed. They are for their owner alone (0600), and so are folders that are missing (0700). All throw what the file
 * system throws, and remove the draft then; a process that is killed meanwhile leaves it.
 */
import { randomBytes } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeFolder } from './folders.ts';

const DRAFT_BYTES = 6;
/** The end of a draft's name. */
export const DRAFT_END = /\.[0-9a-f]{12}$/;
const AS_DRAFT = { mode: 0o600, flag: 'wx', flush: true } as const;

/** replaceFile is for files that are written while requests are served: a flush may take long. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const draft = draftOf(path);
  try {
    await writeFile(draft, text, AS_DRAFT);
    await rename(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
}

/** placeFile does it at once. @param place gives the draft its name; linkSync never replaces another process's file */
export function placeFile(
  path: string,
  text: string,
  place: (draft: string, path: string) => void = renameSync,
): void {
  const draft = draftOf(path);
  try {
    writeFileSync(draft, text, AS_DRAFT);
    place(draft, path);
  } finally {
    rmSync(draft, { force: true });
  }
}

function draftOf(path: string): string {
  makeFolder(dirname(path));
  return `${path}.${randomBytes(DRAFT_BYTES).toString('hex')}`;
}
