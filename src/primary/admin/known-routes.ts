/**
 * What a request is told that no route took: 501 for a call of a later version, 405 for a known path with another method,
 * else 404. The framework answers all of them alike, and its router finds patterns, not paths.
 */
import { HttpProblem } from './problems.ts';

const LATER_CALLS = new Set(['POST /api/v1/workers/restart', 'GET /api/v1/audit', 'GET /api/v1/events']);

export class KnownRoutes {
  readonly #methods = new Map<string, Set<string>>();

  /** add is called for every route while the port is built. */
  add(pattern: string, method: string | string[]): void {
    const methods = this.#methods.get(pattern) ?? new Set();
    for (const each of [method].flat()) methods.add(each);
    this.#methods.set(pattern, methods);
  }

  /** refuse throws the answer. */
  refuse(method: string, path: string): never {
    if (LATER_CALLS.has(`${method} ${path}`)) throw new HttpProblem(501, 'not supported in this version');
    const allowed = [...this.#methods].flatMap(([pattern, methods]) =>
      fits(pattern, path) ? [...methods] : [],
    );
    if (allowed.length === 0) {
      throw new HttpProblem(404, 'there is nothing at this path (a slash inside an id is written %2F)');
    }
    const headers = { allow: [...new Set(allowed)].join(', ') };
    throw new HttpProblem(405, `${method} is not allowed here`, { headers });
  }
}

function fits(pattern: string, path: string): boolean {
  const parts = pattern.split('/');
  const segments = path.split('/', parts.length + 1);
  return (
    parts.length === segments.length && parts.every((part, i) => part.startsWith(':') || part === segments[i])
  );
}
