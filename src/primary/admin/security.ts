/**
 * Who may talk to the admin port. Before anything of a request is read, two questions: does a browser on another site
 * speak through its user (Host, Origin, Sec-Fetch-Site), and is the bearer token the right one?
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIPv4, isIPv6 } from 'node:net';
import type { AdminSettings } from '../../contract/settings.ts';
import { HttpProblem } from './problems.ts';

/** Probes and scrapers reach these by whatever name they like; they change nothing and show no secret. */
const HOST_EXEMPT = new Set(['/livez', '/readyz', '/metrics']);
const ALWAYS_OPEN = new Set(['/livez', '/readyz']);
const METRICS_PATH = '/metrics';

const SAFE_METHODS = new Set(['GET', 'HEAD']);

/** host, v4 or [v6], with an optional port; user names and bare v6 addresses do not match (RFC 9110 §7.2). */
const AUTHORITY = /^(?:\[([^\]]+)\]|([^:@[\]/]+))(?::(\d{0,5}))?$/;
const ORIGIN = /^([a-z][a-z0-9+.-]*):\/\/([^/]*)$/i;
const ABSOLUTE_TARGET = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i;

/** AccessGuard holds the rules of one running admin port; the server asks it once per request, before routing decides. */
export class AccessGuard {
  readonly #tokenHash: Buffer | null;
  readonly #publicMetrics: boolean;
  readonly #hosts: ReadonlySet<string>;

  constructor(settings: Pick<AdminSettings, 'token' | 'publicMetrics' | 'hosts'>) {
    this.#tokenHash = settings.token === null ? null : sha256(Buffer.from(settings.token, 'utf8'));
    this.#publicMetrics = settings.publicMetrics;
    this.#hosts = new Set(settings.hosts.map((host) => host.toLowerCase()));
  }

  /**
   * check throws the HttpProblem (400, 401 or 403) of a request that may not pass.
   * @param path the path of the target without its query, as it came
   */
  check(request: IncomingMessage, path: string): void {
    if (!HOST_EXEMPT.has(path)) this.#checkSite(request);
    if (this.#tokenHash === null || ALWAYS_OPEN.has(path)) return;
    if (path === METRICS_PATH && this.#publicMetrics) return;
    if (!matchesToken(request.headers.authorization, this.#tokenHash)) throw unauthorized();
  }

  #checkSite(request: IncomingMessage): void {
    const { headers, headersDistinct, httpVersion, method = '' } = request;
    const hosts = headersDistinct.host ?? [];
    if (hosts.length > 1) throw new HttpProblem(400, 'the request has more than one Host');
    // Browsers always send Host; HTTP/1.0 may leave it out (RFC 9112 §3.2).
    if (hosts.length === 0 && httpVersion !== '1.0') throw new HttpProblem(400, 'the request has no Host');
    for (const host of hosts) this.#assertKnown(host, 'Host');
    const absolute = ABSOLUTE_TARGET.exec(request.url ?? '');
    if (absolute !== null) this.#assertKnown(absolute[1] ?? '', 'Host');
    const [, scheme = '', authority = ''] = ORIGIN.exec(headers.origin ?? '') ?? [];
    if (headers.origin !== undefined) this.#assertKnown(authority, 'Origin');
    if (!SAFE_METHODS.has(method)) this.#checkWrite(request, scheme.toLowerCase(), authority);
  }

  /**
   * A page at any IP address or loopback port has a known Origin, so a write needs more: the admin port's own Origin, or
   * a host of admin.hosts.
   */
  #checkWrite({ headers }: IncomingMessage, scheme: string, authority: string): void {
    if (headers.origin !== undefined) {
      const origin = endpointOf(authority, scheme);
      const own = endpointOf(headers.host ?? '', scheme);
      if (origin !== own && !this.#hosts.has(nameOf(authority) ?? ''))
        throw new HttpProblem(
          403,
          'the Origin of a write must be the admin port itself or listed in admin.hosts',
        );
      return;
    }
    const site = headers['sec-fetch-site'];
    if (site === 'cross-site' || site === 'same-site')
      throw new HttpProblem(403, `${site} requests may not change anything`);
  }

  #assertKnown(authority: string, field: 'Host' | 'Origin'): void {
    if (isKnownAuthority(authority, this.#hosts)) return;
    throw new HttpProblem(
      403,
      `this ${field} is not an IP address, a loopback name or listed in admin.hosts`,
    );
  }
}

/** Lower case and without a trailing dot; v6 addresses without brackets. null: not an authority. */
function nameOf(authority: string): string | null {
  const [, bracketed, plain] = AUTHORITY.exec(authority) ?? [];
  return (bracketed ?? plain)?.toLowerCase().replace(/\.$/, '') ?? null;
}

/** Name and port, with the port that the scheme implies. */
function endpointOf(authority: string, scheme: string): string {
  const port = AUTHORITY.exec(authority)?.[3] || (scheme === 'https' ? '443' : '80');
  return `${nameOf(authority)} ${Number(port)}`;
}

/**
 * isKnownAuthority tells names that only this machine or the operator can have given from those that a foreign DNS server
 * can point here (DNS rebinding).
 * @param authority `host[:port]`
 * @param hosts further names, lower case
 */
export function isKnownAuthority(authority: string, hosts: ReadonlySet<string>): boolean {
  const name = nameOf(authority);
  if (name === null) return false;
  if (authority.startsWith('[')) return isIPv6(name);
  return isIPv4(name) || name === 'localhost' || name.endsWith('.localhost') || hosts.has(name);
}

/** Hashes have one length, so the comparison tells neither how much of a token was right nor how long the real one is. */
function matchesToken(authorization = '', tokenHash: Buffer): boolean {
  const token = authorization.slice('bearer '.length).trim();
  if (token === '' || authorization.slice(0, 'bearer '.length).toLowerCase() !== 'bearer ') return false;
  // Field values arrive as latin1: this gives the bytes back as they were sent.
  return timingSafeEqual(sha256(Buffer.from(token, 'latin1')), tokenHash);
}

function unauthorized(): HttpProblem {
  return new HttpProblem(401, 'the bearer token is missing or wrong', {
    headers: { 'www-authenticate': 'Bearer realm="sluice admin"' },
  });
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}
