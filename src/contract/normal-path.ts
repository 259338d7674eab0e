/**
 * The normal form of a path (B27): how a backend may read it. Requests are forwarded byte for byte, so a path whose forms belong
 * to different routes is refused (`ambiguous_path`): it could pass the rules of one route and reach what another one guards.
 */

/** Only a path with one of these can differ from its normal form. */
const SUSPECT = /%|\/\/|\/\./;
const ESCAPE = /%[0-9a-f]{2}/gi;
const UNRESERVED = /[A-Za-z0-9._~-]/;

/** withoutQuery cuts the query off a request target. */
export function withoutQuery(target: string): string {
  const queryAt = target.indexOf('?');
  return queryAt < 0 ? target : target.slice(0, queryAt);
}

/** isSuspect is a cheap check: a path that fails it is its own normal form. */
export function isSuspect(path: string): boolean {
  return SUSPECT.test(path);
}

/** hasNul tells whether a path holds an encoded NUL, which is never forwarded (B27). */
export function hasNul(path: string): boolean {
  return path.includes('%00');
}

/**
 * normalPaths returns the normal forms of a path: unreserved escapes decoded (RFC 3986 §6.2.2.2), the others in upper
 * case (§6.2.2.1), dot segments and doubled slashes resolved. There are two where the order of the last two steps matters:
 * file servers join slashes first, RFC 3986 §5.2.4 resolves dots first.
 */
export function normalPaths(path: string): string[] {
  const decoded = path.replace(ESCAPE, (encoded) => {
    const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
    return UNRESERVED.test(character) ? character : encoded.toUpperCase();
  });
  const joinedFirst = withoutDots(withoutDoubledSlashes(decoded));
  const dotsFirst = withoutDoubledSlashes(withoutDots(decoded));
  return joinedFirst === dotsFirst ? [joinedFirst] : [joinedFirst, dotsFirst];
}

function withoutDoubledSlashes(path: string): string {
  return path.replace(/\/{2,}/g, '/');
}

/** RFC 3986 §5.2.4 for a path that starts with a slash; `..` above the root stays at the root. */
function withoutDots(path: string): string {
  // Splitting 64 KiB into segments takes 10 ms.
  if (!path.includes('/.')) return path;
  const segments = path.split('/');
  const kept: string[] = [];
  for (let i = 1; i < segments.length; i++) {
    const segment = segments[i]!;
    const isLast = i === segments.length - 1;
    if (segment === '..') kept.pop();
    if (segment !== '.' && segment !== '..') kept.push(segment);
    else if (isLast) kept.push('');
  }
  return `/${kept.join('/')}`;
}
