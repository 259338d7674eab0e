/** Mistakes in a configuration file: what, where, and how they are printed. */

/** Path of a value in the file: keys of mappings and indices of lists, from the root. */
export type KeyPath = readonly (string | number)[];

/** Finding is a mistake whose line is not known yet. */
export interface Finding {
  path: KeyPath;
  /** See Problem. */
  message: string;
}

/** Problem is one mistake in a configuration file; made by config/, shown by `check`, `serve` and a reload. */
export interface Problem {
  /** 1-based; null where the file as a whole is meant. */
  line: number | null;
  /** `pools.app.backends[0].url`; null where the file as a whole is meant. */
  path: string | null;
  /** A sentence without the full stop; never contains a value that may be a secret. */
  message: string;
}

const PLAIN_KEY = /^[\w-]{1,64}$/;
const SHOWN_KEY_LENGTH = 64;

/** pathText writes a path as users read it. Keys with other than word characters are quoted, long ones cut. */
export function pathText(path: KeyPath): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (PLAIN_KEY.test(part)) text += text === '' ? part : `.${part}`;
    else text += `[${JSON.stringify(part.slice(0, SHOWN_KEY_LENGTH))}]`;
  }
  return text;
}

/** formatProblems writes one line per problem: `FILE:LINE: path.to.key: sentence`. @param label goes before the path */
export function formatProblems(file: string, problems: readonly Problem[], label = ''): string[] {
  return problems.map(({ line, path, message }) => {
    const place = line === null ? file : `${file}:${line}`;
    return `${place}: ${label}${path === null ? '' : `${path}: `}${message}`;
  });
}

/** sortProblems orders by line, keeps the order of finding within one, and drops repetitions. */
export function sortProblems(problems: readonly Problem[]): Problem[] {
  const byText = new Map(
    problems.map((each) => [JSON.stringify([each.line, each.path, each.message]), each]),
  );
  return [...byText.values()].sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
}
