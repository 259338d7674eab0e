/** Listen addresses as the configuration has them, and sentences that say why one cannot be listened at. */
import { hostPort } from './addresses.ts';
import type { ListenAddress } from './settings.ts';

const MEANINGS: Readonly<Record<string, string>> = {
  EADDRINUSE:
    'another program listens there (is another instance running? stop it, or choose another port in the configuration)',
  EACCES: 'this user may not listen there',
  EADDRNOTAVAIL: 'this machine has no such address',
};

/**
 * listenSentence says why an address cannot be listened at; for the message of a listen_failed.
 *
 * @param where as it stands in the configuration: `127.0.0.1:8080`, `:8080`, `unix:/path`
 * @param code the system's (EADDRINUSE, …); null where it gave none
 * @param detail the system's own words, for a code that has no sentence here
 */
export function listenSentence(where: string, code: string | null, detail: string): string {
  const meaning = MEANINGS[code ?? ''] ?? detail;
  return `cannot listen on ${where}: ${code === null ? '' : `${code}: `}${meaning}`;
}

/**
 * addressUrl is the URL of a listener (`http://127.0.0.1:8080`, `unix:/path`), for the ready line.
 *
 * @param port the real one, where the configuration has 0
 */
export function addressUrl(address: ListenAddress, port: number): string {
  if (address.kind === 'unix') return addressText(address);
  const { host } = address;
  // A wildcard is no address that a client can use.
  const shown = host === null || host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `http://${hostPort(shown, port)}`;
}

/** addressText is an address as it stands in the configuration. */
export function addressText(address: ListenAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return hostPort(address.host ?? '', address.port);
}
