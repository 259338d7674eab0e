/**
 * Telling an unknown path (404) from a known one with another method (405): the framework answers both alike, and its
 * router can only be asked for patterns, not for paths.
 */
import { HttpProblem } from './problems.ts';

interface KnownRoute {
  segments: readonly string[];
  methods: Set<string>;
}

export class KnownRoutes {
  readonly #byPattern = new Map<string, KnownRoute>();

  /** add is called for every route while the port is built. */
  add(pattern: string, method: string | string[]): void {
    const known = this.#byPattern.get(pattern) ?? { segments: pattern.split('/'), methods: new Set() };
    for (const each of [method].flat()) known.methods.add(each);
    this.#byPattern.set(pattern, known);
  }

  /** refuse throws what a request is told that no route took. */
  refuse(method: string, path: string): never {
    const allowed = this.#methodsOf(path);
    if (allowed.size === 0) {
      throw new HttpProblem(404, 'there is nothing at this path (a slash inside an id is written %2F)');
    }
    throw new HttpProblem(405, `${method} is not allowed here`, {
      headers: { allow: [...allowed].join(', ') },
    });
  }

  #methodsOf(path: string): ReadonlySet<string> {
    const segments = path.split('/');
    const methods = new Set<string>();
    for (const known of this.#byPattern.values()) {
      if (!fits(known.segments, segments)) continue;
      for (const method of known.methods) methods.add(method);
    }
    return methods;
  }
}

function fits(pattern: readonly string[], segments: readonly string[]): boolean {
  if (pattern.length !== segments.length) return false;
  return pattern.every((part, i) => part.startsWith(':') || part === segments[i]);
}
