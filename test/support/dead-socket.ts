import { once } from 'node:events';
import { renameSync } from 'node:fs';
import { createServer } from 'node:net';

/** leaveDeadSocket makes what a killed server leaves behind: the file of a Unix socket where nobody listens. */
export async function leaveDeadSocket(path: string): Promise<void> {
  const server = createServer();
  server.listen({ path: `${path}.made` });
  await once(server, 'listening');
  // Renamed, because close() would remove the file under its old name.
  renameSync(`${path}.made`, path);
  server.close();
  await once(server, 'close');
}
