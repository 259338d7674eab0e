/** Host, path and method to a route: the first one that matches, in the order of the configuration. */
import type { RouteMatch } from '../contract/settings.ts';
import { normalPaths } from './normal-path.ts';

interface CompiledRoute<R> {
  /** Lower case, or null for any; with `isSuffix` it is `.example.com` and something must come before it. */
  host: string | null;
  isSuffix: boolean;
  path: string | null;
  isPrefix: boolean;
  methods: readonly string[] | null;
  route: R;
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

  /** allowedMethods lists, for a request that found nothing, what would have been served there; empty: a 404. */
  allowedMethods(host: string, path: string): string[] {
    const methods = new Set<string>();
    for (const compiled of this.#routes) {
      if (!matchesPlace(compiled, host, path)) continue;
      for (const method of compiled.methods ?? []) methods.add(method);
    }
    return [...methods];
  }
}

/** The last answer of routingHost: most requests of a worker carry the same few hosts. */
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

function compile<R>(match: RouteMatch, route: R): CompiledRoute<R> {
  const isSuffix = match.host?.startsWith('*.') ?? false;
  const path = match.path === null ? null : (normalPaths(match.path)[0] ?? match.path);
  return {
    host: isSuffix ? (match.host?.slice(1) ?? null) : match.host,
    isSuffix,
    path,
    isPrefix: path?.endsWith('/') ?? false,
    methods: match.methods,
    route,
  };
}

function matchesPlace<R>(compiled: CompiledRoute<R>, host: string, path: string): boolean {
  return matchesHost(compiled, host) && matchesPath(compiled, path);
}

function matchesHost<R>({ host, isSuffix }: CompiledRoute<R>, given: string): boolean {
  if (host === null) return true;
  return isSuffix ? given.length > host.length && given.endsWith(host) : given === host;
}

function matchesPath<R>({ path, isPrefix }: CompiledRoute<R>, given: string): boolean {
  if (path === null) return true;
  return isPrefix ? given.startsWith(path) : given === path;
}
