/** pathOfClient is the path of the calls about one client. */
export function pathOfClient(clientId: string): string {
  return `/api/v1/clients/${encodeURIComponent(clientId)}`;
}
