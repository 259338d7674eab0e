/** Host, path and method to a route: the first one that matches, in the order of the configuration. */
import type { RouteMatch } from '../contract/settings.ts';

interface CompiledRoute<R> extends RouteMatch {
  /** `host` is `.example.com`, and something must come before it. */
  isSuffix: boolean;
  isPrefix: boolean;
  route: R;
}

/** Verdict is the first part of a request in which a route differs from it, and what the route wants there; part null: in none. */
export interface Verdict {
  part: 'host' | 'path' | 'method' | null;
  wanted: string;
}

/** Router is compiled with each plan and asked for every request; it only reads. */
export class Router<R> {
  readonly #routes: CompiledRoute<R>[];

  constructor(routes: readonly { match: RouteMatch; route: R }[]) {
    this.#routes = routes.map(({ match, route }) => compile(match, route));
  }

  /**
   * find returns the route of a request, or null.
   *
   * @param host as routingHost makes it
   * @param path without query; `/` for `OPTIONS *`
   */
  find(host: string, path: string, method: string): R | null {
    for (const compiled of this.#routes) {
      if (!matchesPlace(compiled, host, path)) continue;
      if (compiled.methods === null || compiled.methods.includes(method)) return compiled.route;
    }
    return null;
  }

  /** verdicts compares each route with a request, in order, also behind the one that takes it; for explanations. */
  verdicts(host: string, path: string, method: string): { route: R; verdict: Verdict }[] {
    return this.#routes.map((each) => ({ route: each.route, verdict: verdictOf(each, host, path, method) }));
  }

  /** allowedMethods lists the methods that routes serve at this host and path; empty: no route is there. */
  allowedMethods(host: string, path: string): string[] {
    const methods = new Set<string>();
    for (const compiled of this.#routes) {
      if (!matchesPlace(compiled, host, path)) continue;
      for (const method of compiled.methods ?? []) methods.add(method);
    }
    return [...methods];
  }
}

/** The last result of routingHost: most requests of a worker carry the same few hosts. */
let lastHost = '';
let lastRoutingHost = '';

/** routingHost turns a valid Host value into what routes are compared with: lower case, no port, no final dot. */
export function routingHost(host: string): string {
  if (host === lastHost) return lastRoutingHost;
  lastHost = host;
  lastRoutingHost = withoutPort(host);
  return lastRoutingHost;
}

function withoutPort(host: string): string {
  const lower = host.toLowerCase();
  const colon = lower.endsWith(']') ? -1 : lower.lastIndexOf(':');
  const name = colon < 0 ? lower : lower.slice(0, colon);
  return name.endsWith('.') ? name.slice(0, -1) : name;
}

function compile<R>({ host, path, methods }: RouteMatch, route: R): CompiledRoute<R> {
  const suffix = host?.startsWith('*.') ? host.slice(1) : null;
  const isPrefix = path?.endsWith('/') ?? false;
  return { host: suffix ?? host, isSuffix: suffix !== null, path, isPrefix, methods, route };
}

function matchesPlace<R>(route: CompiledRoute<R>, host: string, path: string): boolean {
  return matchesHost(route, host) && matchesPath(route, path);
}

function matchesHost<R>(route: CompiledRoute<R>, host: string): boolean {
  if (route.host === null) return true;
  if (!route.isSuffix) return host === route.host;
  return host.length > route.host.length && host.endsWith(route.host);
}

function matchesPath<R>(route: CompiledRoute<R>, path: string): boolean {
  if (route.path === null) return true;
  return route.isPrefix ? path.startsWith(route.path) : path === route.path;
}

function verdictOf<R>(route: CompiledRoute<R>, host: string, path: string, method: string): Verdict {
  if (!matchesHost(route, host)) return { part: 'host', wanted: `${route.isSuffix ? '*' : ''}${route.host}` };
  if (!matchesPath(route, path)) return { part: 'path', wanted: `${route.path}${route.isPrefix ? '…' : ''}` };
  if (route.methods !== null && !route.methods.includes(method))
    return { part: 'method', wanted: route.methods.join(', ') };
  return { part: null, wanted: '' };
}
