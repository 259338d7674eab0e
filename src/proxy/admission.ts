/** From a request head to a route and a caller: everything that is decided before a token is taken. */
import type { Downstream, DownstreamPeer } from '../contract/downstream.ts';
import { OUTCOMES, type Outcome } from '../contract/outcomes.ts';
import type { Caller } from '../limit/caller/identity.ts';
import type { Decision } from '../limit/decision.ts';
import { isSuspect, normalPaths } from './normal-path.ts';
import type { Plan, PlannedRoute } from './plan.ts';
import { GuardedRequest } from './request-guard.ts';
import { routingHost } from './router.ts';

/** Admission holds what is known of a request so far; each transaction makes one and calls admit once. */
export class Admission {
  readonly guarded: GuardedRequest;
  caller: Caller | null = null;
  route: PlannedRoute | null = null;
  /** For `Allow` of a 405. */
  allow: readonly string[] = [];
  readonly #downstream: Downstream;
  readonly #plan: Plan;

  constructor(downstream: Downstream, plan: Plan) {
    this.#downstream = downstream;
    this.#plan = plan;
    this.guarded = new GuardedRequest(downstream.head, isTrusted(downstream.peer, plan));
  }

  /** admit returns why the request is refused, or null. The cheapest checks come first. */
  admit(): Outcome | null {
    const { guarded } = this;
    const { limits, identifier, apiKeyHeader } = this.#plan;
    const refusal = guarded.guard(limits, apiKeyHeader);
    if (refusal !== null) return refusal;
    const { head, apiKey } = guarded;
    this.caller = identifier.identify(this.#downstream.peer.address, head.forwardedFor, apiKey);
    const unrouted = this.#findRoute();
    if (unrouted !== null) return unrouted;
    if (guarded.bodyLength > limits.bodyBytes) return OUTCOMES.body_too_large;
    return this.caller.mode === 'blocked' ? OUTCOMES.blocked : null;
  }

  #findRoute(): Outcome | null {
    const { method } = this.#downstream.head;
    const { path, hasSuspectPath } = this.guarded;
    const { router } = this.#plan;
    const host = routingHost(this.guarded.host);
    const route = router.find(host, path, method);
    if (hasSuspectPath && isSuspect(path)) {
      for (const normal of normalPaths(path)) {
        if (router.find(host, normal, method) !== route) return OUTCOMES.ambiguous_path;
      }
    }
    this.route = route;
    if (route !== null) return null;
    this.allow = router.allowedMethods(host, path);
    return this.allow.length > 0 ? OUTCOMES.method_not_allowed : OUTCOMES.no_route;
  }
}

/** refusalBy turns a decision of the limiter into an answer; null: the request goes on. */
export function refusalBy({ allowed, storeDenied, retryAfterMs }: Decision): Outcome | null {
  if (allowed) return null;
  if (storeDenied) return OUTCOMES.store_denied;
  return retryAfterMs < 0 ? OUTCOMES.cost_above_capacity : OUTCOMES.limited;
}

/** Looks the peer up once per connection and plan. */
function isTrusted(peer: DownstreamPeer, { trusted }: Plan): boolean {
  if (peer.trustedBy !== trusted) {
    peer.trusted = trusted.trusts(peer.address);
    peer.trustedBy = trusted;
  }
  return peer.trusted;
}
