/**
 * Who may call the admin port. Two checks come before anything of a request is read: that no page of another site speaks
 * through the browser of a user (Host, Origin, Sec-Fetch-Site), and the bearer token.
 */
import { hash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIPv4, isIPv6 } from 'node:net';
import { type Clock, systemClock } from '../../contract/clock.ts';
import type { AdminSettings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { PROBES } from './app.ts';
import { isDashboardFile } from './dashboard.ts';
import { HttpProblem } from './problems.ts';
import { WrongTokens } from './wrong-tokens.ts';

/** Probes and scrapers may use any name for these; they change nothing and show no secret. */
const HOST_EXEMPT = new Set([...PROBES, '/metrics']);

/** Access is what the token of a call allows. */
export type Access = 'write' | 'read';

/** host, v4 or [v6], with an optional port; user names and bare v6 addresses do not match (RFC 9110 §7.2). */
const AUTHORITY = /^(?:\[([^\]]+)\]|([^:@[\]/]+))(?::(\d{0,5}))?$/;
const ORIGIN = /^([a-z][a-z0-9+.-]*):\/\/([^/]*)$/i;
const ABSOLUTE_TARGET = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i;

/** AccessGuard has the rules of one admin port; the server asks it once per request. */
export class AccessGuard {
  readonly #tokenHash: Buffer | null;
  readonly #readTokenHash: Buffer | null;
  readonly #publicMetrics: boolean;
  readonly #hosts: ReadonlySet<string>;
  /** With the name of `admin.address`. It is no entry of `hosts`: those may write from any port. */
  readonly #names: ReadonlySet<string>;
  readonly #wrongTokens: WrongTokens;
  readonly #logger: Logger;

  constructor(
    { token, readToken, publicMetrics, hosts, host }: Omit<AdminSettings, 'port'>,
    logger: Logger,
    clock: Clock = systemClock,
  ) {
    this.#wrongTokens = new WrongTokens(clock);
    this.#logger = logger;
    this.#tokenHash = hashOf(token);
    this.#readTokenHash = hashOf(readToken);
    this.#publicMetrics = publicMetrics;
    this.#hosts = new Set(hosts.map((each) => each.toLowerCase()));
    const name = nameOf(host);
    // It has none where it is a v6 address.
    this.#names = name === null ? this.#hosts : new Set([...this.#hosts, name]);
  }

  /**
   * check returns what the caller may do, and throws HttpProblem 400, 401, 403 or 429 for a request that may not pass.
   * @param path as sent, without the query @param isWrite whether it changes something
   */
  check(request: IncomingMessage, path: string, isWrite: boolean): Access {
    if (!HOST_EXEMPT.has(path)) this.#checkSite(request, path);
    if (this.#tokenHash === null) return 'write';
    if (PROBES.has(path) || isDashboardFile(path) || (path === '/metrics' && this.#publicMetrics))
      return 'read';
    const { authorization } = request.headers;
    const peer = request.socket.remoteAddress ?? '';
    const access = this.#accessOf(authorization, this.#tokenHash);
    if (access !== null) {
      // Whoever may only read could otherwise guess the other token for ever.
      if (access === 'write') this.#wrongTokens.forget(peer);
      else if (isWrite) throw new HttpProblem(403, 'this token may only read (admin.readToken)');
      return access;
    }
    // A caller without a token does not guess: a scraper may do so for ever.
    if (authorization !== undefined) this.#throttle(peer);
    const headers = { 'www-authenticate': 'Bearer realm="sluice admin"' };
    throw new HttpProblem(401, 'the bearer token is missing or wrong', { headers });
  }

  /** Both tokens are always compared, so that the time says nothing of either. null: it is neither. */
  #accessOf(authorization: string | undefined, tokenHash: Buffer): Access | null {
    const isReader = this.#readTokenHash !== null && matchesToken(authorization, this.#readTokenHash);
    if (matchesToken(authorization, tokenHash)) return 'write';
    return isReader ? 'read' : null;
  }

  /** Throws 429 (RFC 6585 §4) for an address that has sent too many wrong tokens; a log line tells once per period. */
  #throttle(peer: string): void {
    const { retryAfterSec, first } = this.#wrongTokens.add(peer);
    if (retryAfterSec === 0) return;
    if (first)
      this.#logger.warn(
        { peer, retryAfterSec },
        'too many wrong admin tokens from this address: its further wrong ones get 429',
      );
    const headers = { 'retry-after': String(retryAfterSec) };
    throw new HttpProblem(429, 'too many wrong tokens came from this address', { headers });
  }

  #checkSite(request: IncomingMessage, path: string): void {
    const { headers, headersDistinct, httpVersion, method = '' } = request;
    const hosts = headersDistinct.host ?? [];
    if (hosts.length > 1) throw new HttpProblem(400, 'the request has more than one Host');
    // Browsers always send Host; HTTP/1.0 may leave it out (RFC 9112 §3.2).
    if (hosts.length === 0 && httpVersion !== '1.0') throw new HttpProblem(400, 'the request has no Host');
    for (const host of hosts) this.#checkAuthority(host, 'Host');
    const absolute = ABSOLUTE_TARGET.exec(request.url ?? '');
    if (absolute !== null) this.#checkAuthority(absolute[1] ?? '', 'Host');
    const [, scheme = '', authority = ''] = ORIGIN.exec(headers.origin ?? '') ?? [];
    if (headers.origin !== undefined) this.#checkAuthority(authority, 'Origin');
    if (method !== 'GET' && method !== 'HEAD') this.#checkWrite(request, scheme.toLowerCase(), authority);
    else if (!isLink(path) && !this.#isListed(authority)) checkFetchSite(request, 'call the API');
  }

  /**
   * A page at any IP address or loopback port passes #checkAuthority, so a write needs more: the Origin of the admin port
   * itself, or a host of admin.hosts.
   */
  #checkWrite({ headers }: Pick<IncomingMessage, 'headers'>, scheme: string, authority: string): void {
    if (headers.origin !== undefined) {
      const origin = endpointOf(authority, scheme);
      const own = endpointOf(headers.host ?? '', scheme);
      if (origin === own || this.#isListed(authority)) return;
      const detail = 'the Origin of a write must be the admin port itself or listed in admin.hosts';
      throw new HttpProblem(403, detail);
    }
    checkFetchSite({ headers }, 'change anything');
  }

  #isListed(authority: string): boolean {
    return this.#hosts.has(nameOf(authority) ?? '');
  }

  #checkAuthority(authority: string, field: 'Host' | 'Origin'): void {
    if (isKnownAuthority(authority, this.#names)) return;
    const detail = `this ${field} is not an IP address, a loopback name, the name of admin.address or listed in admin.hosts`;
    throw new HttpProblem(403, detail);
  }
}

/** What a page elsewhere may point at. Any other GET could hold a stream open, or have the configuration loaded, for a page that cannot read it. */
function isLink(path: string): boolean {
  return isDashboardFile(path) || path === '/openapi.json';
}

/** Throws for what a browser sends for a page of another origin, where it says so. @param what such a request may not do */
function checkFetchSite({ headers }: Pick<IncomingMessage, 'headers'>, what: string): void {
  const site = headers['sec-fetch-site'];
  if (site === 'cross-site' || site === 'same-site')
    throw new HttpProblem(403, `${site} requests may not ${what}`);
}

/** Lower case and without a trailing dot; v6 addresses without brackets. null: not an authority. */
function nameOf(authority: string): string | null {
  const [, bracketed, plain] = AUTHORITY.exec(authority) ?? [];
  return (bracketed ?? plain)?.toLowerCase().replace(/\.$/, '') ?? null;
}

/** Name and port; the scheme implies the port where none is given. */
function endpointOf(authority: string, scheme: string): string {
  const port = AUTHORITY.exec(authority)?.[3] || (scheme === 'https' ? '443' : '80');
  return `${nameOf(authority)} ${Number(port)}`;
}

/**
 * isKnownAuthority is true for names that a foreign DNS server cannot point at this machine (DNS rebinding).
 * @param authority `host[:port]` @param hosts more known names, lower case
 */
export function isKnownAuthority(authority: string, hosts: ReadonlySet<string>): boolean {
  const name = nameOf(authority);
  if (name === null) return false;
  if (authority.startsWith('[')) return isIPv6(name);
  return isIPv4(name) || name === 'localhost' || name.endsWith('.localhost') || hosts.has(name);
}

function hashOf(token: string | null): Buffer | null {
  return token === null ? null : hash('sha256', token, 'buffer');
}

/** Compares hashes in constant time: their equal length hides the length of the real token. */
function matchesToken(authorization = '', tokenHash: Buffer): boolean {
  const [, token = ''] = /^bearer (.*)$/is.exec(authorization) ?? [];
  // Field values arrive as latin1; this restores the bytes that were sent.
  return timingSafeEqual(hash('sha256', Buffer.from(token.trim(), 'latin1'), 'buffer'), tokenHash);
}
