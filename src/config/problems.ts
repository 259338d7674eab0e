/** What is wrong with a configuration file, and how it is said: `FILE:LINE: path.to.key: sentence`. */

/** Path of a value in the file: keys of mappings and indices of lists, from the root. */
export type KeyPath = readonly (string | number)[];

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

/** pathText writes a path as users read it; keys with other characters than word ones are quoted, long ones cut. */
export function pathText(path: KeyPath): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (PLAIN_KEY.test(part)) text += text === '' ? part : `.${part}`;
    else text += `[${JSON.stringify(part.slice(0, SHOWN_KEY_LENGTH))}]`;
  }
  return text;
}

/** formatProblems turns problems into the lines that `check` and `serve` print, one per problem. */
export function formatProblems(file: string, problems: readonly Problem[]): string[] {
  return problems.map(({ line, path, message }) => {
    const place = line === null ? file : `${file}:${line}`;
    return path === null ? `${place}: ${message}` : `${place}: ${path}: ${message}`;
  });
}

/** sortProblems orders by line, keeps the order of finding within one, and drops repetitions. */
export function sortProblems(problems: readonly Problem[]): Problem[] {
  const seen = new Set<string>();
  const unique = problems.filter((problem) => {
    const name = JSON.stringify([problem.line, problem.path, problem.message]);
    if (seen.has(name)) return false;
    seen.add(name);
    return true;
  });
  return unique.sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
}
