/** Ports for servers that cannot be asked for port 0. */
import { once } from 'node:events';
import { createServer } from 'node:net';

/** freePort returns a TCP port of 127.0.0.1 that was free a moment ago; callers try another one when it is taken. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  server.close();
  await once(server, 'close');
  return port;
}
