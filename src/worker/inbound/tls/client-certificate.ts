/** The certificate that a client has shown in its handshake. */
import type { TLSSocket } from 'node:tls';

/** More than any name that people read; the field with it must fit into the head for the backend. */
const MAX_SUBJECT_LENGTH = 2_048;

/**
 * clientSubject is the subject of the client's verified certificate, null without one. A certificate that is shown must be valid, also
 * where none is asked for: the client means something by it.
 */
export function clientSubject(socket: TLSSocket): { name: string | null } | { problem: string } {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return { name: null };
  if (!socket.authorized) return { problem: String(socket.authorizationError ?? 'unverified') };
  const name = distinguishedName(certificate.subject);
  return name.length > MAX_SUBJECT_LENGTH ? { problem: 'subject_too_long' } : { name };
}

/**
 * distinguishedName writes a subject as `CN=…,O=…,C=…` (RFC 4514), in visible ASCII: other bytes become `\` and two digits, as in
 * nginx's `$ssl_client_s_dn`.
 *
 * @param subject as node gives it: a line per part, the widest first; special and control characters are escaped
 */
function distinguishedName(subject: string): string {
  const parts = subject.split('\n').reverse().join(',');
  return parts.replace(/[^\x20-\x7e]/gu, (character) =>
    Array.from(
      Buffer.from(character),
      (byte) => `\\${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    ).join(''),
  );
}
