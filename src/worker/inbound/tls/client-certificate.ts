/** The certificate that a client has shown in its handshake. */
import type { TLSSocket } from 'node:tls';
import { toError } from '../../../contract/errors.ts';
import type { TlsAddress } from '../../../contract/tls.ts';

/** More than any name that people read; the field with it must fit into the head for the backend. */
const SUBJECT_MAX_CHARS = 2_048;

/**
 * clientSubject is the subject of the client's verified certificate; null without a certificate, and for one whose subject is empty. A
 * certificate that is shown must be valid, also where none is required: the client means something by it. Nothing in it may
 * make this throw, because that would end the worker.
 */
export function clientSubject(
  socket: TLSSocket,
  clientAuth: TlsAddress['clientAuth'],
): { name: string | null } | { problem: string; cause?: Error } {
  if (clientAuth === 'off') return { name: null };
  try {
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined)
      return clientAuth === 'require' ? { problem: 'no_client_certificate' } : { name: null };
    if (!socket.authorized) return { problem: String(socket.authorizationError ?? 'unverified') };
    // A resumed session was verified in an earlier handshake.
    if (certificate.validToDate.getTime() <= Date.now()) return { problem: 'CERT_HAS_EXPIRED' };
    // Where the names are in the SAN alone, some versions of Node.js give undefined, others ''.
    const subject: string | undefined = certificate.subject;
    const name = subject ? distinguishedName(subject) : null;
    return (name?.length ?? 0) > SUBJECT_MAX_CHARS ? { problem: 'subject_too_long' } : { name };
  } catch (thrown) {
    return { problem: 'unreadable_certificate', cause: toError(thrown) };
  }
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
