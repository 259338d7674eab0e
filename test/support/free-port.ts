/** Ports for servers that cannot be asked for port 0. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

const LOWEST_PORT = 10_000;
const ATTEMPTS = 50;
/** Ports that this process has been given: two servers of one test would else get the same, once in a while. */
const given = new Set<number>();

/**
 * freePort returns a TCP port of 127.0.0.1 that was free a moment ago. It is below the range that the kernel uses for outgoing
 * connections, so that none of them can take the port before the server listens.
 */
export async function freePort(): Promise<number> {
  const firstEphemeral = Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = randomInt(LOWEST_PORT, Math.max(firstEphemeral, LOWEST_PORT + 1_000));
    if (given.has(port) || !(await canListen(port))) continue;
    given.add(port);
    return port;
  }
  throw new Error(`no free port from ${LOWEST_PORT} to ${firstEphemeral} in ${ATTEMPTS} attempts`);
}

/** canListen tells whether the TCP port of 127.0.0.1 is free. */
export async function canListen(port: number): Promise<boolean> {
  const server = createServer();
  server.listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  }
  server.close();
  await once(server, 'close');
  return true;
}
