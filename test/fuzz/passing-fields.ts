/** Removes the fields that must not be forwarded (B24): a second implementation, for comparison. */
import { isProtected, isTrailerAllowed } from '../../src/http1/header-names.ts';

const HOP_BY_HOP = new Set([
  ...['connection', 'keep-alive', 'transfer-encoding', 'content-length', 'trailer', 'upgrade', 'te'],
  ...[
    'proxy-connection',
    'proxy-authenticate',
    'proxy-authorization',
    'proxy-authentication-info',
    'http2-settings',
  ],
]);

/** passingHeaders removes hop-by-hop fields and those that Connection names. */
export function passingHeaders(headers: readonly string[]): string[] {
  const named = new Set<string>();
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]?.toLowerCase() !== 'connection') continue;
    for (const name of tokensOf(headers[i + 1] ?? '')) if (!isProtected(name)) named.add(name);
  }
  return pairsOf(headers).flatMap(([name, value]) => {
    const lower = name.toLowerCase();
    return HOP_BY_HOP.has(lower) || named.has(lower) ? [] : [name, value];
  });
}

/** tokensOf lists the options of a Connection value in lower case; only SP and HTAB are blanks, unlike for trim. */
export function tokensOf(value: string): string[] {
  return value
    .toLowerCase()
    .split(',')
    .map((token) => token.replace(/^[ \t]+/, '').replace(/[ \t]+$/, ''));
}

/** passingTrailers removes fields that must not be trailers. */
export function passingTrailers(trailers: readonly string[]): string[] {
  return pairsOf(trailers).flatMap(([name, value]) => (isTrailerAllowed(name) ? [name, value] : []));
}

function pairsOf(flat: readonly string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] ?? '', flat[2 * i + 1] ?? '']);
}
