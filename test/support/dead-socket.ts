import { once } from 'node:events';
import { renameSync } from 'node:fs';
import { createServer } from 'node:net';

/** leaveDeadSocket makes what a killed process leaves behind: the file of a Unix socket on which nobody listens. */
export async function leaveDeadSocket(path: string): Promise<void> {
  const server = createServer();
  server.listen({ path: `${path}.made` });
  await once(server, 'listening');
  // The server would remove the file under the name that it knows.
  renameSync(`${path}.made`, path);
  server.close();
  await once(server, 'close');
}
