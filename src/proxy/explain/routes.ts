/** Explains the choice of the route. */
import { EXPLAINED_MAX, type Explanation } from '../../contract/explain.ts';
import { normalPaths } from '../../contract/normal-path.ts';
import type { Admission } from '../admission.ts';
import type { Plan, PlannedRoute } from '../plan.ts';
import { routingHost, type Verdict } from '../router.ts';
import { isSecure } from '../scheme.ts';

interface ExplainedRoutes {
  items: Explanation['routes'];
  /** Routes that are not among the items. */
  leftOut: number;
  steps: string[];
}

/** explainRoutes is called with an admission that has looked for a route. */
export function explainRoutes(
  { head, host: sentHost, path, scheme }: Admission,
  plan: Plan,
): ExplainedRoutes {
  const secure = isSecure(scheme);
  const router = secure ? plan.secureRouter : plan.router;
  const host = routingHost(sentHost);
  const taken = router.find(host, path, head.method);
  const all = plan.router.verdicts(host, path, head.method).map(({ route, verdict }) => {
    const matched = route === taken;
    return { route: route.name, matched, why: whyOf(route, verdict, matched, secure) };
  });
  const items = all.filter(({ matched }, i) => matched || i < EXPLAINED_MAX);
  const differing = normalPaths(path).filter((form) => form !== path);
  const readings = differing.map((form) => {
    const other = router.find(host, form, head.method);
    const same = other === taken ? 'the same route' : other === null ? 'no route' : `route ${other.name}`;
    return `A backend may read the path as ${form}, which belongs to ${same}.`;
  });
  const steps =
    taken === null
      ? ['No route takes it.', ...readings]
      : [takenStep(taken, head.method, host, path), ...readings];
  return { items, leftOut: all.length - items.length, steps };
}

function takenStep({ name }: PlannedRoute, method: string, host: string, path: string): string {
  return `Route ${name} is the first one that takes ${method} ${path} at host ${host === '' ? '(none)' : host}.`;
}

function whyOf(
  { redirectStatus }: PlannedRoute,
  verdict: Verdict,
  matched: boolean,
  secure: boolean,
): string {
  if (matched) return 'host, path and method match';
  switch (verdict.part) {
    case 'host':
      return `its host is ${verdict.wanted}`;
    case 'path':
      return `its path is ${verdict.wanted}`;
    case 'method':
      return `its methods are ${verdict.wanted}`;
    case null:
      return secure && redirectStatus !== null
        ? 'it redirects only requests without TLS'
        : 'shadowed: an earlier route takes the request';
  }
}
