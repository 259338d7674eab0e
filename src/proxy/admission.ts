/**
 * What is decided about a request before a token is taken. First the guard refuses requests that can be parsed but must not be
 * forwarded (B21, B22, B25, B27), and makes the head for the backend; the reader of the head has left out what never goes on.
 * Then the caller and the route are found.
 */
import type { ClientFacts } from '../contract/downstream.ts';
import { hasNul, isSuspect, normalPaths, withoutQuery } from '../contract/normal-path.ts';
import { OUTCOMES, type Outcome } from '../contract/outcomes.ts';
import { NO_BODY, type RequestHead } from '../contract/request-head.ts';
import type { LimitSettings } from '../contract/settings.ts';
import { fieldValues, withoutFields } from '../http1/field-lines.ts';
import type { Caller, KnownAddress } from '../limit/caller/identity.ts';
import { isGrpcCall } from './grpc.ts';
import type { AdmissionPlan, PlannedRoute } from './plan.ts';
import { routingHost } from './router.ts';
import { isSecure } from './scheme.ts';
import { hasKey, isWebSocket, namedToken } from './tunnel/websocket.ts';

const BAD_REQUEST = OUTCOMES.bad_request;
const NOT_IMPLEMENTED: Outcome = { ...OUTCOMES.bad_request, status: 501 };
const UNKNOWN_EXPECTATION: Outcome = { ...OUTCOMES.bad_request, status: 417 };

type GuardLimits = Pick<LimitSettings, 'targetBytes' | 'headerBytes' | 'headerCount'>;

/** What RFC 9110 §7.2 allows and names use: letters, digits, `.`, `-`, `_`; or an IPv6 literal. */
const HOST = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;
const ABSOLUTE_FORM = /^https?:\/\/([^/?]*)(.*)$/i;
/** Visible ASCII without `#`. */
const TARGET = /^[\x21\x22\x24-\x7e]+$/;
/** Origin-form that is its own normal form: no escape, dot segment or empty segment in its path. */
const SIMPLE_TARGET = /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*\/?(?:\?[\x21\x22\x24-\x7e]*)?$/;
/** Methods whose requests say `Content-Length: 0` when they have no body (RFC 9110 §8.6). */
const METHODS_WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);
/** RFC 8555 §8.3. */
const CHALLENGE_PATH = '/.well-known/acme-challenge/';
export const KEY_AUTHORIZATION_LINES = 'Content-Type: application/octet-stream\r\n';

/** The last valid Host: most requests of a worker carry the same few. */
let goodHost = 'localhost';

/** Admission holds what is known of a request. Each transaction makes one and calls admit once. */
export class Admission {
  readonly head: RequestHead;
  readonly peer: KnownAddress;
  /** `https` where the client's TLS ended here; a trusted proxy may say anything (see isSecure). */
  readonly scheme: string;
  /** A gRPC call. */
  readonly isGrpc: boolean;
  /** As sent; `''` where an HTTP/1.0 client sent none. */
  host = '';
  /** Origin-form or `*`, byte for byte as it came. */
  target: string;
  /** As UpstreamRequest.bodyLength. */
  bodyLength = NO_BODY;
  /** Lines for the backend, each with CRLF; without Host, framing and the forwarding fields that Sluice writes. */
  headerLines = '';
  /** The answer to a challenge of a certificate authority; '': the request asks for none that is open. */
  keyAuthorization = '';
  caller: Caller | null = null;
  route: PlannedRoute | null = null;
  /** As UpstreamRequest.upgrade. */
  upgrade = '';
  /** Of a 405 (RFC 9110 §15.5.6), with CRLF; else ''. */
  allowLine = '';
  /** The target without its query; `/` for `*`. */
  #path = '/';
  /** Whether the path may differ from its normal form (B27). */
  #hasSuspectPath = false;
  /** All values of the API key field, joined by ', '; '' for none. */
  #apiKey = '';

  /** @param scheme of the client's connection */
  constructor(head: RequestHead, peer: KnownAddress, scheme: ClientFacts['scheme']) {
    this.head = head;
    this.peer = peer;
    this.scheme = (peer.isTrusted && head.forwardedProto) || scheme;
    this.isGrpc = isGrpcCall(head);
    this.target = head.target;
  }

  /** The path that routes are compared with; for explanations, as is the API key. */
  get path(): string {
    return this.#path;
  }

  get apiKey(): string {
    return this.#apiKey;
  }

  /** admit returns why the request is refused, or null. The cheapest checks come first. @param challenges of ProxyDeps */
  admit(plan: AdmissionPlan, challenges: ReadonlyMap<string, string>): Outcome | null {
    const { limits, identifier, apiKeyHeader } = plan;
    const refusal = this.guard(limits, apiKeyHeader);
    if (refusal !== null) return refusal;
    if (challenges.size > 0) this.keyAuthorization = this.#challenged(challenges);
    // No route, redirect or limit may keep the authority from the answer.
    if (this.keyAuthorization !== '') return null;
    this.caller = identifier.identify(this.peer, this.head.forwardedFor, this.#apiKey);
    const unrouted = this.#findRoute(plan);
    if (unrouted !== null) return unrouted;
    const misled = this.head.upgrade === '' ? null : this.#admitUpgrade();
    if (misled !== null) return misled;
    if (this.bodyLength > limits.bodyBytes) return OUTCOMES.body_too_large;
    return this.caller.mode === 'blocked' ? OUTCOMES.blocked : null;
  }

  /**
   * guard is the part of admit that needs no plan; tests call it alone.
   * @param apiKeyHeader name of the API key field in lower case, '' for none; the field goes on to the backend
   */
  guard(limits: GuardLimits, apiKeyHeader = ''): Outcome | null {
    const { head } = this;
    if (this.target.length > limits.targetBytes) return OUTCOMES.target_too_long;
    if (head.lineCount > limits.headerCount || head.headerBytes > limits.headerBytes)
      return OUTCOMES.headers_too_large;
    // Sluice opens no tunnels.
    if (head.method === 'CONNECT') return NOT_IMPLEMENTED;
    if (head.hasBadFraming || head.namesFraming || head.isMalformed) return BAD_REQUEST;
    if (head.hasUnknownExpectation) return UNKNOWN_EXPECTATION;
    const refusal = this.#checkHost() ?? this.#checkTarget();
    if (refusal !== null) return refusal;
    this.bodyLength = head.bodyLength === NO_BODY && METHODS_WITH_BODY.has(head.method) ? 0 : head.bodyLength;
    this.#rewrite(apiKeyHeader);
    return null;
  }

  /** A protocol that the route does not name is ignored, where the request means something without it. */
  #admitUpgrade(): Outcome | null {
    const { head, route } = this;
    const token = namedToken(head.upgrade, route?.upgrade ?? []);
    // RFC 8441 §3: the rest of the stream is the other protocol's.
    if (token === '') return head.httpVersion === 20 ? NOT_IMPLEMENTED : null;
    // The body would be the first bytes of the tunnel for one reader and not for another.
    if (head.hasBody) return BAD_REQUEST;
    if (isWebSocket(token) && !(head.method === 'GET' && hasKey(this.headerLines))) return BAD_REQUEST;
    this.upgrade = token;
    return null;
  }

  /** RFC 9112 §3.2: exactly one Host (or `:authority`), which HTTP/1.0 may leave out. */
  #checkHost(): Outcome | null {
    const { host, hostCount, httpVersion } = this.head;
    if (hostCount === 0) return httpVersion > 10 ? BAD_REQUEST : null;
    if (hostCount > 1) return BAD_REQUEST;
    this.host = host;
    if (host === goodHost) return null;
    if (!HOST.test(host)) return BAD_REQUEST;
    goodHost = host;
    return null;
  }

  #checkTarget(): Outcome | null {
    const isOriginForm = this.target.charCodeAt(0) === 0x2f;
    if (isOriginForm && SIMPLE_TARGET.test(this.target)) {
      this.#path = withoutQuery(this.target);
      return null;
    }
    this.#hasSuspectPath = true;
    if (!TARGET.test(this.target)) return BAD_REQUEST;
    if (!isOriginForm && this.target !== '*' && !this.#toOriginForm()) return BAD_REQUEST;
    if (this.target === '*') return this.head.method === 'OPTIONS' ? null : BAD_REQUEST;
    this.#path = withoutQuery(this.target);
    return this.#path.includes('\\') || hasNul(this.#path) ? BAD_REQUEST : null;
  }

  /** RFC 9112 §3.2.2: absolute-form to origin-form; its authority must be the one of Host. */
  #toOriginForm(): boolean {
    const match = ABSOLUTE_FORM.exec(this.target);
    if (match === null) return false;
    const [, authority = '', rest = ''] = match;
    if (this.host === '' && HOST.test(authority)) this.host = authority;
    if (authority.toLowerCase() !== this.host.toLowerCase()) return false;
    if (rest === '') this.target = this.head.method === 'OPTIONS' ? '*' : '/';
    else this.target = rest.startsWith('?') ? `/${rest}` : rest;
    return true;
  }

  #rewrite(apiKeyHeader: string): void {
    const { head } = this;
    let { lines } = head;
    // Several keys are joined, and the joined text is no valid key.
    if (apiKeyHeader !== '') this.#apiKey = fieldValues(lines, apiKeyHeader).join(', ');
    if (head.named !== null) {
      // A client must not be able to hide the key from the backend.
      head.named.delete(apiKeyHeader);
      lines = withoutFields(lines, head.named);
      // The set may take many times the bytes of its field, and nobody asks for it again.
      head.named = null;
    }
    if (this.peer.isTrusted) lines += head.forwardedLines;
    if (head.wantsTrailers) lines += 'TE: trailers\r\n';
    this.headerLines = lines;
  }

  #challenged(challenges: ReadonlyMap<string, string>): string {
    const path = this.#path;
    const { method } = this.head;
    if (!path.startsWith(CHALLENGE_PATH) || (method !== 'GET' && method !== 'HEAD')) return '';
    return challenges.get(path.slice(CHALLENGE_PATH.length)) ?? '';
  }

  #findRoute(plan: AdmissionPlan): Outcome | null {
    const { method } = this.head;
    const router = isSecure(this.scheme) ? plan.secureRouter : plan.router;
    const host = routingHost(this.host);
    const path = this.#path;
    const route = router.find(host, path, method);
    if (this.#hasSuspectPath && isSuspect(path)) {
      for (const normal of normalPaths(path)) {
        if (router.find(host, normal, method) !== route) return OUTCOMES.ambiguous_path;
      }
    }
    this.route = route;
    // Without Host nobody knows where to send the client.
    if (route !== null) return route.pool === null && this.host === '' ? BAD_REQUEST : null;
    const allowed = router.allowedMethods(host, path);
    if (allowed.length === 0) return OUTCOMES.no_route;
    this.allowLine = `Allow: ${allowed.join(', ')}\r\n`;
    return OUTCOMES.method_not_allowed;
  }
}
