/** Addresses in the file: where to listen, and where backends are. */
import { isIP, isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { ListenAddress } from '../../contract/settings.ts';

/** A parsed value, or the message about the mistake. */
export type Parsed<T> = { value: T } | { message: string };

const MAX_PORT = 65_535;
/** sockaddr_un holds 108 bytes with the closing NUL (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;
const HOST_NAME = /^(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$/;
const MAX_HOST_LENGTH = 253;
const HOST_MESSAGE = 'must have a host name, an IPv4 address or an IPv6 address in brackets';

/** isHostName says whether a text can be a DNS name (RFC 1123, and `_` as container networks use it). */
export function isHostName(text: string): boolean {
  return text.length <= MAX_HOST_LENGTH && HOST_NAME.test(text) && !/^[\d.]+$/.test(text);
}

/** isLoopback says whether a host can only be reached from this machine. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || (isIP(host) !== 0 && ipaddr.process(host).range() === 'loopback');
}

const LOCALHOST: ReadonlySet<string | null> = new Set(['localhost', '127.0.0.1', '::1']);

/** isSameLocalhost says whether one host is `localhost` and the other an address that this may stand for. */
export function isSameLocalhost(a: string | null, b: string | null): boolean {
  return a !== b && (a === 'localhost' || b === 'localhost') && LOCALHOST.has(a) && LOCALHOST.has(b);
}

/** parseListenAddress reads `host:port`, `[v6]:port`, `:port` or `unix:/path`. */
export function parseListenAddress(text: string): Parsed<ListenAddress> {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    const usable =
      path.startsWith('/') && Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES && !path.includes('\0');
    if (!usable)
      return { message: `needs an absolute path of at most ${MAX_SOCKET_PATH_BYTES} bytes after unix:` };
    return { value: { kind: 'unix', path } };
  }
  const found = /^(\[[^\]]*\]|[^:]*):(\d{1,10})$/.exec(text);
  if (found === null) return { message: 'must be host:port, [v6]:port, :port or unix:/path' };
  const port = Number(found[2]);
  if (port > MAX_PORT) return { message: `must have a port from 0 to ${MAX_PORT}` };
  if (found[1] === '') return { value: { kind: 'tcp', host: null, port } };
  const host = parseHost(found[1] ?? '');
  if (host === null) return { message: HOST_MESSAGE };
  return { value: { kind: 'tcp', host, port } };
}

/** A name or an address (IPv6 in brackets) in lower case and canonical form; null: neither. */
function parseHost(text: string): string | null {
  if (text.startsWith('[')) {
    const inner = text.slice(1, -1);
    return isIPv6(inner) && !inner.includes('%') ? ipaddr.parse(inner).toString() : null;
  }
  if (isIPv4(text)) return text;
  return isHostName(text) ? text.toLowerCase() : null;
}

export interface HostPort {
  host: string;
  port: number;
}

interface BackendAddress extends HostPort {
  /** `https://`. */
  tls: boolean;
}

const URL_PARTS =
  /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(?:([^@/?#]*)@)?(\[[^\]]*\]|[^:/?#@]*)(?::(\d*))?([/?#].*)?$/;
const DEFAULT_PORTS: Readonly<Record<string, number>> = { http: 80, https: 443 };

/** parseBackendUrl reads `http://host[:port]` or `https://host[:port]`; for any other part of a URL the message names it. */
export function parseBackendUrl(text: string): Parsed<BackendAddress> {
  const parts = URL_PARTS.exec(text);
  if (parts === null) return { message: 'must be a URL like http://127.0.0.1:8081' };
  const [, scheme = '', credentials, hostText = '', portText, rest = ''] = parts;
  const defaultPort = DEFAULT_PORTS[scheme.toLowerCase()];
  if (defaultPort === undefined) return { message: 'must begin with http:// or https://' };
  if (credentials !== undefined) return { message: 'must not hold a user name or password' };
  const host = parseHost(hostText);
  if (host === null) return { message: HOST_MESSAGE };
  const port = portText === undefined || portText === '' ? defaultPort : Number(portText);
  if (port < 1 || port > MAX_PORT) return { message: `must have a port from 1 to ${MAX_PORT}` };
  if (rest.includes('#')) return { message: 'must not have a fragment' };
  if (rest.includes('?')) return { message: 'must not have a query' };
  // A lone slash is the empty path (RFC 3986 §6.2.3).
  if (rest !== '' && rest !== '/')
    return { message: 'must not have a path, the path of the request is kept' };
  return { value: { host, port, tls: scheme.toLowerCase() === 'https' } };
}
