/** What the backend is told about where a request came from (B26, B34). */
import { UNIX_PEER } from '../contract/addresses.ts';
import type { Admission } from './admission.ts';
import type { Trace } from './trace.ts';

/** Our name in Via, both ways (RFC 9110 §7.6.3). */
export const VIA = '1.1 sluice';

/** backendLines makes UpstreamRequest.headerLines of an admitted request, with the fields that Sluice adds. @param certSubject see ClientFacts */
export function backendLines(
  { head, host, headerLines, peer, scheme, caller }: Admission,
  certSubject: string | null,
  requestId: string,
  trace: Trace,
): string {
  const { address, isTrusted } = peer;
  const hops = isTrusted && head.forwardedFor !== '' ? hopsBehind(head.forwardedFor, address) : address;
  const forwardedHost = (isTrusted && head.forwardedHost) || host;
  const added =
    `X-Forwarded-For: ${hops}\r\nX-Forwarded-Proto: ${scheme}\r\n` +
    (forwardedHost === '' ? '' : `X-Forwarded-Host: ${forwardedHost}\r\n`) +
    `X-Real-IP: ${caller?.clientIp ?? address}\r\nX-Request-Id: ${requestId}\r\nVia: ${VIA}\r\n` +
    `traceparent: ${trace.traceparent}\r\n` +
    (trace.continued ? head.tracestateLines : '') +
    (certSubject === null ? '' : `X-Client-Cert-Subject: ${certSubject}\r\n`);
  return (host === '' ? '' : `Host: ${host}\r\n`) + (headerLines + added);
}

function hopsBehind(forwardedFor: string, address: string): string {
  // `unix:` is not an address: the next proxy would stop reading there.
  return address === UNIX_PEER ? forwardedFor : `${forwardedFor}, ${address}`;
}
