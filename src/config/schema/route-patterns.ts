/** Hosts and paths of routes: checks a pattern and returns it in the form that the router compares. */
import { isIPv6 } from 'node:net';
import { isHostName, type Parsed } from './addresses.ts';

/** parseHostPattern reads a host name, an address (IPv6 in brackets, as in `Host`) or `*.example.com` into lower case. */
export function parseHostPattern(text: string): Parsed<string> {
  const name = text.startsWith('*.') ? text.slice(2) : text;
  if (text.startsWith('[') && text.endsWith(']') && isIPv6(text.slice(1, -1))) {
    return { value: text.toLowerCase() };
  }
  if (/:\d*$/.test(text)) return { message: 'must not have a port' };
  const isAddress = /^\d+(\.\d+){3}$/.test(text);
  if ((!isHostName(name) && !isAddress) || name.endsWith('.')) {
    return { message: 'must be a host name like www.example.com, or *.example.com for every name below it' };
  }
  return { value: text.toLowerCase() };
}

/** parsePathPattern checks an exact path or a prefix (it ends in `/`); it must be in normal form (B27). */
export function parsePathPattern(text: string): Parsed<string> {
  if (text.length > MAX_PATH_LENGTH) return { message: `must be at most ${MAX_PATH_LENGTH} characters` };
  if (text.startsWith('~')) return { message: 'regular expressions are not supported in this version' };
  if (!text.startsWith('/')) return { message: 'must begin with /' };
  if (/[?#]/.test(text)) return { message: 'must be a path alone, without ? or #' };
  if (/[^\x21-\x7e]|\\/.test(text)) {
    return { message: 'must be visible ASCII without \\, other characters are written as %XX' };
  }
  if (text.includes('*')) return { message: wildcardSentence(text) };
  if (/%(?![0-9A-Fa-f]{2})|%00/.test(text)) return { message: 'holds a % that begins no valid %XX' };
  const normal = normalPath(text);
  if (normal !== text) return { message: `can never match, the normal form is ${normal}` };
  return { value: text };
}

function wildcardSentence(text: string): string {
  const below = text.slice(0, text.indexOf('*'));
  const advice = below.endsWith('/')
    ? `write ${below} for everything below it`
    : 'only a / at the end is one';
  return `has a *, which is no wildcard here: ${advice}`;
}

/** Longer than any path that a route needs; bounds the time to bring one into normal form. */
const MAX_PATH_LENGTH = 8192;
const UNRESERVED = /[A-Za-z0-9._~-]/;

/**
 * normalPath resolves dot segments (RFC 3986 §5.2.4) and doubled slashes, and decodes percent-encoded unreserved
 * characters (§6.2.2.2).
 */
function normalPath(path: string): string {
  const decoded = path.replace(/%[0-9A-Fa-f]{2}/g, (encoded) => {
    const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
    return UNRESERVED.test(character) ? character : encoded;
  });
  const kept: string[] = [];
  const segments = decoded.split('/').slice(1);
  for (const segment of segments) {
    if (segment === '..') kept.pop();
    else if (segment !== '.' && segment !== '') kept.push(segment);
  }
  const last = segments.at(-1) ?? '';
  const endsInSlash = last === '' || last === '.' || last === '..';
  return kept.length === 0 ? '/' : `/${kept.join('/')}${endsInSlash ? '/' : ''}`;
}
