/** Compiles the load generators in C. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeTempFolder, removeTempFolder } from '../../test/support/temp-folder.ts';
import { findProgram } from './tools.ts';

const BUILD_MS = 60_000;

export interface Compiled {
  /** Path of the program. */
  program: string;
  remove(): void;
}

/** compilerMissing says what the machine lacks; '' for nothing. */
export function compilerMissing(): string {
  return findProgram('cc') === null ? 'cc is not installed' : '';
}

/** compile builds a source of this folder into a new folder. It throws with the compiler's output. */
export function compile(source: string): Compiled {
  const folder = makeTempFolder('sluice-bench-');
  const program = join(folder, source.replace(/\.c$/, ''));
  const path = fileURLToPath(new URL(source, import.meta.url));
  const words = ['-O2', '-std=gnu11', '-Wall', '-Wextra', '-o', program, path, '-lm'];
  try {
    execFileSync(findProgram('cc') ?? 'cc', words, { stdio: ['ignore', 'pipe', 'pipe'], timeout: BUILD_MS });
  } catch (error) {
    removeTempFolder(folder);
    throw error;
  }
  return { program, remove: () => removeTempFolder(folder) };
}
