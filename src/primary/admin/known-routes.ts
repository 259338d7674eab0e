/**
 * How a request is refused that no route takes: 501 for a call of a later version, 405 for a known path with another
 * method, else 404. The framework answers 404 to all of them.
 */
import { HttpProblem } from './problems.ts';

const LATER_CALLS = new Set(['POST /api/v1/workers/restart', 'GET /api/v1/audit', 'GET /api/v1/events']);

export class KnownRoutes {
  readonly #routes: { pattern: string; methods: string[] }[] = [];

  /** add is called for every route as it is added. */
  add(pattern: string, method: string | string[]): void {
    this.#routes.push({ pattern, methods: [method].flat() });
  }

  /** refuse throws the refusal. */
  refuse(method: string, path: string): never {
    if (LATER_CALLS.has(`${method} ${path}`)) throw new HttpProblem(501, 'not supported in this version');
    const allowed = this.#routes.flatMap(({ pattern, methods }) => (fits(pattern, path) ? methods : []));
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
