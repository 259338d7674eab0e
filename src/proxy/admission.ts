/** From a head to a route and a caller: everything that is decided before a token is taken. */
import type { Downstream, DownstreamPeer } from '../contract/downstream.ts';
import type { Caller } from '../limit/caller/identity.ts';
import type { Decision } from '../limit/decision.ts';
import { isSuspect, normalPaths } from './normal-path.ts';
import type { Plan, PlannedRoute } from './plan.ts';
import { GuardedRequest, type Refusal } from './request-guard.ts';
import { routingHost } from './router.ts';

const AMBIGUOUS_PATH: Refusal = { reason: 'bad_request', status: 400 };
const NO_ROUTE: Refusal = { reason: 'no_route', status: 404 };
const METHOD_NOT_ALLOWED: Refusal = { reason: 'method_not_allowed', status: 405 };
const BODY_TOO_LARGE: Refusal = { reason: 'body_too_large', status: 413 };
const BLOCKED: Refusal = { reason: 'blocked', status: 403 };
const LIMITED: Refusal = { reason: 'limited', status: 429 };
const STORE_DENIED: Refusal = { reason: 'store_denied', status: 503 };

/** Admission holds what was found out, as far as it got; the transaction makes one per request and calls admit once. */
export class Admission {
  readonly guarded: GuardedRequest;
  caller: Caller | null = null;
  route: PlannedRoute | null = null;
  /** For a 405. */
  allow: readonly string[] = [];
  readonly #downstream: Downstream;
  readonly #plan: Plan;

  constructor(downstream: Downstream, plan: Plan) {
    this.#downstream = downstream;
    this.#plan = plan;
    this.guarded = new GuardedRequest(downstream.head, isTrusted(downstream.peer, plan));
  }

  /** admit returns why the request is refused, or null. Order matters: what costs least comes first. */
  admit(): Refusal | null {
    const { guarded } = this;
    const { limits, identifier, apiKeyHeader } = this.#plan;
    const refusal = guarded.guard(limits, apiKeyHeader);
    if (refusal !== null) return refusal;
    const { head, apiKey } = guarded;
    this.caller = identifier.identify(this.#downstream.peer.address, head.forwardedFor, apiKey);
    const unrouted = this.#findRoute();
    if (unrouted !== null) return unrouted;
    if (guarded.bodyLength > limits.bodyBytes) return BODY_TOO_LARGE;
    return this.caller.mode === 'blocked' ? BLOCKED : null;
  }

  #findRoute(): Refusal | null {
    const { method } = this.#downstream.head;
    const { path, hasSuspectPath } = this.guarded;
    const { router } = this.#plan;
    const host = routingHost(this.guarded.host);
    const route = router.find(host, path, method);
    if (hasSuspectPath && isSuspect(path)) {
      for (const normal of normalPaths(path)) {
        if (router.find(host, normal, method) !== route) return AMBIGUOUS_PATH;
      }
    }
    this.route = route;
    if (route !== null) return null;
    this.allow = router.allowedMethods(host, path);
    return this.allow.length > 0 ? METHOD_NOT_ALLOWED : NO_ROUTE;
  }
}

/** refusalBy turns the limiter's word into an answer; null: the request goes on. */
export function refusalBy({ allowed, storeDenied }: Decision): Refusal | null {
  if (allowed) return null;
  return storeDenied ? STORE_DENIED : LIMITED;
}

/** Asked once per connection and plan. */
function isTrusted(peer: DownstreamPeer, { trusted }: Plan): boolean {
  if (peer.trustedBy !== trusted) {
    peer.trusted = trusted.trusts(peer.address);
    peer.trustedBy = trusted;
  }
  return peer.trusted;
}
