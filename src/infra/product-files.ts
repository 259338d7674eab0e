/**
 * Where the files of the product are that are read or started by path. src/ and dist/ lie beside the same folders and have the same
 * entries. But dist/ has its other code in few files, so that a path relative to import.meta.url would be wrong there.
 */
import { findPackageJSON } from 'node:module';
import { dirname, extname, join, relative, sep } from 'node:path';

const ROOT = dirname(findPackageJSON('..', import.meta.url) ?? import.meta.dirname);
/** The folder of code that runs: src, or what scripts/bundle.ts has made of it. */
const [CODE = ''] = relative(ROOT, import.meta.filename).split(sep);

/** productFile finds what lies beside src/ and dist/. @param path from the folder of package.json */
export function productFile(path: string): string {
  return join(ROOT, path);
}

/** codeFile finds what lies in src/ or dist/, whichever runs. */
export function codeFile(path: string): string {
  return join(ROOT, CODE, path);
}

/** entryFile finds the file that a process or a thread starts with: TypeScript in src/, JavaScript in dist/. @param name one of `ENTRIES` in scripts/bundle.ts */
export function entryFile(name: string): string {
  return codeFile(name + extname(import.meta.filename));
}
