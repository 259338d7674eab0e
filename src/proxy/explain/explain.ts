/**
 * The way that a request would take, and why (`POST /api/v1/explain`): found by the parser, the admission, the router, the identifier and
 * the ranks that requests go by, and told in sentences. Nothing is taken, picked, counted or logged.
 */
import { counted } from '../../contract/counted.ts';
import { EXPLAINED_MAX, type ExplainQuery, type Explanation } from '../../contract/explain.ts';
import { normalPaths } from '../../contract/normal-path.ts';
import { OUTCOMES, type Outcome } from '../../contract/outcomes.ts';
import type { RequestHead } from '../../contract/request-head.ts';
import { RequestHeadReader } from '../../http1/request-head-reader.ts';
import type { KnownAddress } from '../../limit/caller/identity.ts';
import { Admission } from '../admission.ts';
import { PRIORITIES } from '../overload.ts';
import type { Plan, PlannedRoute } from '../plan.ts';
import type { ProxyDeps } from '../proxy-deps.ts';
import { outcomeOfStatus } from '../responder.ts';
import { explainBackends } from './backends.ts';
import { explainClient } from './client.ts';
import { explainRoutes } from './routes.ts';

type ExplainDeps = Pick<ProxyDeps, 'challenges' | 'overload'>;

/** explain is called by the handler. @param plan the one in force */
export function explain(
  { head: text, scheme, peer: address }: ExplainQuery,
  plan: Plan,
  deps: ExplainDeps,
): Explanation {
  const asked = plan.uncounted();
  const peer = asked.identifier.addressOf(address);
  const head = readHead(text, plan);
  if (!('method' in head)) return refusedUnread(head, peer, plan);
  const admission = new Admission(head, peer, scheme);
  const refusal = admission.admit(asked, deps.challenges);
  const { route, caller, keyAuthorization } = admission;
  const found = explainClient(admission, asked);
  const shared = { peer: shownPeer(peer), apiKey: found.apiKey, path: shownPath(admission.path, refusal) };
  const steps = [...found.steps];
  if (caller === null || keyAuthorization !== '') {
    if (keyAuthorization !== '') steps.push('It is answered with the challenge of a certificate authority.');
    return { ...NOTHING, ...shared, refusal: shownRefusal(refusal), steps };
  }
  const routes = explainRoutes(admission, plan);
  steps.push(...routes.steps);
  const base = { ...NOTHING, ...shared, client: found.client, routes: routes.items, leftOut: routes.leftOut };
  if (route === null) return { ...base, refusal: shownRefusal(refusal), steps };
  const shed = refusal === null ? shedBy(deps, route, steps) : null;
  const policies = caller.mode === 'unlimited' ? [] : policiesOf(admission, plan);
  if (caller.mode !== 'blocked') steps.push(...limitSteps(route, policies, caller.mode === 'unlimited'));
  const target = targetOf(admission, plan, route);
  return {
    ...base,
    ...target.facts,
    leftOut: routes.leftOut + target.leftOut,
    route: route.name,
    refusal: shownRefusal(refusal ?? shed),
    priority: PRIORITIES[route.priorityIndex] ?? null,
    policies,
    steps: [...steps, ...(refusal === null ? target.steps : [])],
  };
}

/** What an explanation says of a request that is refused at once. */
const NOTHING: Omit<Explanation, 'peer' | 'apiKey' | 'path' | 'refusal' | 'steps'> = {
  route: null,
  client: null,
  policies: [],
  pool: null,
  redirect: null,
  priority: null,
  backends: [],
  lacking: null,
  routes: [],
  leftOut: 0,
};

/** The head, or why its bytes are no request. */
function readHead(text: string, { limits }: Plan): RequestHead | (Outcome & { problem: string }) {
  const bytes = Buffer.from(text, 'latin1');
  const reader = new RequestHeadReader();
  const end = reader.read(bytes, 0, bytes.length, limits);
  if (end === bytes.length) return reader.head;
  return { ...outcomeOfStatus(reader.problemStatus), problem: reader.problem };
}

function refusedUnread(outcome: Outcome & { problem: string }, peer: KnownAddress, plan: Plan): Explanation {
  const path = { asSent: '', normalForms: [], ambiguous: false };
  const apiKey = plan.apiKeyHeader === '' ? 'off' : 'none';
  const steps = [`The parser refuses it: ${outcome.problem}.`];
  return { ...NOTHING, peer: shownPeer(peer), apiKey, path, refusal: shownRefusal(outcome), steps };
}

function shownPeer({ address, isTrusted }: KnownAddress): Explanation['peer'] {
  return { address, trusted: isTrusted };
}

function shownPath(path: string, refusal: Outcome | null): Explanation['path'] {
  const ambiguous = refusal === OUTCOMES.ambiguous_path;
  return { asSent: path, normalForms: path.startsWith('/') ? normalPaths(path) : [], ambiguous };
}

function shownRefusal(outcome: Outcome | null): Explanation['refusal'] {
  return outcome && { status: outcome.status, reason: outcome.reason, text: outcome.title };
}

/** An overload may refuse some requests of a priority, or all. */
function shedBy({ overload }: ExplainDeps, { priorityIndex }: PlannedRoute, steps: string[]): Outcome | null {
  const share = overload.refusedShare(priorityIndex);
  if (share === 0) return null;
  const priority = PRIORITIES[priorityIndex] ?? '';
  steps.push(
    `The worker is overloaded: it refuses ${Math.round(share * 100)} % of requests with priority ${priority}.`,
  );
  return share === 1 ? OUTCOMES.overload : null;
}

function policiesOf({ caller, route }: Admission, plan: Plan): Explanation['policies'] {
  const limit = route?.limit;
  if (caller === null || limit == null) return [];
  return limit.policies.map((policy) => {
    // With the client's own limits, or newer ones of the store.
    const { capacity, refillPerSecond } = plan.limiter.peek(caller, policy);
    const alone = plan.limiter.alone(caller, policy);
    return {
      policy: policy.name,
      capacity,
      refillPerSecond,
      cost: limit.cost,
      leased: plan.limiter.leased(caller, policy),
      aloneAmong: alone?.among ?? null,
      aloneLevel: alone?.level ?? null,
      onStoreFailure: policy.onStoreFailure,
      shadow: policy.shadow,
    };
  });
}

function limitSteps(route: PlannedRoute, policies: Explanation['policies'], isUnlimited: boolean): string[] {
  if (route.limit === null) return [`Route ${route.name} has no limit.`];
  if (isUnlimited) return ['The client is unlimited: no token is taken.'];
  return policies.flatMap((each) => {
    const { policy, capacity, refillPerSecond, cost, leased, shadow } = each;
    const lease = leased < cost ? '' : `; this worker has ${leased} on lease, which go first`;
    const rate = `holds ${capacity}, ${refillPerSecond} come back per second${lease}`;
    const note = shadow ? ', which is a shadow and refuses nothing' : '';
    return [`It takes ${counted(cost, 'token')} of policy ${policy} (${rate})${note}.`, ...aloneSteps(each)];
  });
}

function aloneSteps({
  policy,
  aloneAmong,
  aloneLevel,
  onStoreFailure,
}: Explanation['policies'][number]): string[] {
  if (aloneAmong === null) return [];
  const what = {
    local: `this worker decides alone, with 1/${aloneAmong} of the limit (${counted(Math.floor(aloneLevel ?? 0), 'token')} left)`,
    allow: 'every request passes (onStoreFailure: allow)',
    deny: 'what has no token on lease is refused (onStoreFailure: deny)',
  };
  return [`The store of policy ${policy} is away: ${what[onStoreFailure]}.`];
}

/** Where the request goes. */
function targetOf({ host, target }: Admission, plan: Plan, route: PlannedRoute) {
  if (route.redirectStatus !== null) {
    const redirect = { status: route.redirectStatus, location: plan.httpsLocation.of(host, target) };
    const steps = [`It is redirected with ${redirect.status} to ${redirect.location}.`];
    return { facts: { redirect }, leftOut: 0, steps };
  }
  if (route.pool === null) return { facts: {}, leftOut: 0, steps: [] };
  const { name: pool } = route.pool;
  const { items, lacking, steps } = explainBackends(route.pool);
  const backends = items.slice(0, EXPLAINED_MAX);
  return { facts: { pool, backends, lacking }, leftOut: items.length - backends.length, steps };
}
