/** Mistakes in a configuration file: what, where, and how they are printed. */

import type { FileProblem } from '../contract/config-file-view.ts';

/** Path of a value in the file: keys of mappings and indices of lists, from the root. */
export type KeyPath = readonly (string | number)[];

/** Finding is a mistake before its line is looked up. */
export interface Finding {
  path: KeyPath;
  message: string;
}

const PLAIN_KEY = /^[\w-]{1,64}$/;
const SHOWN_KEY_LENGTH = 64;

/** pathText writes a path as users read it. It quotes keys with unusual characters, and cuts long ones. */
export function pathText(path: KeyPath): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (PLAIN_KEY.test(part)) text += text === '' ? part : `.${part}`;
    else text += `[${JSON.stringify(part.slice(0, SHOWN_KEY_LENGTH))}]`;
  }
  return text;
}

/** formatProblems writes one line per problem: `FILE:LINE: path.to.key: message`. @param label goes before the path */
export function formatProblems(file: string, problems: readonly FileProblem[], label = ''): string[] {
  return problems.map(({ line, path, message }) => {
    const place = line === null ? file : `${file}:${line}`;
    return `${place}: ${label}${path === null ? '' : `${path}: `}${message}`;
  });
}

/** sortProblems sorts by line, and drops repetitions. */
export function sortProblems(problems: readonly FileProblem[]): FileProblem[] {
  const byText = new Map(
    problems.map((each) => [JSON.stringify([each.line, each.path, each.message]), each]),
  );
  return [...byText.values()].sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
}
