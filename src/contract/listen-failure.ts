/** What the most common failures mean, for the person who starts Sluice. */
const MEANINGS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there',
  EACCES: 'this user may not listen there',
  EADDRNOTAVAIL: 'this machine has no such address',
};

/**
 * listenSentence says why an address cannot be listened at; for the message of a listen_failed.
 *
 * @param where as it stands in the configuration: `127.0.0.1:8080`, `:8080`, `unix:/path`
 * @param code the system's (EADDRINUSE, …); null where it gave none
 * @param detail the system's own words, said where the code means nothing to us
 */
export function listenSentence(where: string, code: string | null, detail: string): string {
  const meaning = MEANINGS[code ?? ''] ?? detail;
  return `cannot listen on ${where}: ${code === null ? '' : `${code}: `}${meaning}`;
}
