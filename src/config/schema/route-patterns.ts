/** Hosts and paths of routes: checks a pattern and returns it in the form that the router compares. */
import { isIPv6 } from 'node:net';
import { normalPaths } from '../../contract/normal-path.ts';
import { isHostName, type Parsed } from './addresses.ts';

/** Longer than any path that a route needs; bounds the time to bring one into normal form. */
const MAX_PATH_LENGTH = 8192;

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
  // The router does not mind the case of an escape.
  const value = text.replace(/%../g, (encoded) => encoded.toUpperCase());
  const [normal = value] = normalPaths(value);
  return normal === value ? { value } : { message: `can never match, the normal form is ${normal}` };
}

function wildcardSentence(text: string): string {
  const below = text.slice(0, text.indexOf('*'));
  const advice = below.endsWith('/')
    ? `write ${below} for everything below it`
    : 'a / at the end means everything below it';
  return `has a *, which is not a wildcard here: ${advice}`;
}
