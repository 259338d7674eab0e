const SECURE_SCHEME = /^(?:https|wss)[ \t]*(?:,|$)/i;

/** isSecure: what a trusted proxy says may be a list, the client's own scheme first, and some say `wss` of a WebSocket. */
export function isSecure(scheme: string): boolean {
  return scheme === 'https' || (scheme !== 'http' && SECURE_SCHEME.test(scheme));
}
