/** What the most common failures mean, for the person who starts Sluice. */
const MEANINGS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there',
  EACCES: 'this user may not listen there',
  EADDRNOTAVAIL: 'this machine has no such address',
};

/** The file of a Unix socket outlives a process that could not remove it. */
const LEFT_BEHIND = ', or one that was killed left the file behind';

/**
 * listenSentence says why an address cannot be listened at; for the message of a listen_failed.
 *
 * @param where as it stands in the configuration: `127.0.0.1:8080`, `:8080`, `unix:/path`
 * @param code the system's (EADDRINUSE, …); null where it gave none
 * @param detail the system's own words, said where the code means nothing to us
 */
export function listenSentence(where: string, code: string | null, detail: string): string {
  let meaning = MEANINGS[code ?? ''] ?? detail;
  if (code === 'EADDRINUSE' && where.startsWith('unix:')) meaning += LEFT_BEHIND;
  return `cannot listen on ${where}: ${code === null ? '' : `${code}: `}${meaning}`;
}
