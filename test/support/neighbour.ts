/** nginx and HAProxy as neighbours of the product. scripts/services.sh installs them. */
import { existsSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { spawnChild } from './child.ts';
import { freePort } from './free-port.ts';
import { tempFolder } from './temp-folder.ts';
import { waitFor } from './wait.ts';

/** startNginx runs one HTTP server. @param server the inside of its block; PORT is replaced @returns its port */
export async function startNginx(t: TestContext, server: string): Promise<number> {
  const folder = tempFolder(t);
  const port = await freePort();
  const bodies = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${name};`,
  );
  const config = `daemon off;
pid nginx.pid;
error_log stderr error;
worker_processes 1;
events {}
http {
  access_log off;
  ${bodies.join('\n  ')}
  server {
    ${server.replaceAll('PORT', String(port))}
  }
}
`;
  writeFileSync(join(folder, 'nginx.conf'), config);
  await start(t, programOf('nginx'), ['-e', 'stderr', '-p', folder, '-c', 'nginx.conf'], port);
  return port;
}

/** startHaproxy forwards TCP to a port. @param options of its `server` line @returns the port at which it listens */
export async function startHaproxy(t: TestContext, toPort: number, options: string): Promise<number> {
  const folder = tempFolder(t);
  const port = await freePort();
  const config = `global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen all
  bind 127.0.0.1:${port}
  server sluice 127.0.0.1:${toPort} ${options}
`;
  writeFileSync(join(folder, 'haproxy.cfg'), config);
  await start(t, programOf('haproxy'), ['-db', '-f', join(folder, 'haproxy.cfg')], port);
  return port;
}

/** Debian keeps them outside of most users' PATH. */
function programOf(name: string): string {
  const path = `/usr/sbin/${name}`;
  return existsSync(path) ? path : name;
}

async function start(t: TestContext, command: string, args: string[], port: number): Promise<void> {
  const child = spawnChild(command, args, {});
  t.after(() => child.stop());
  await waitFor(`${command} to listen\n${child.describe()}`, async () => {
    if (child.exitStatus !== null) throw new Error(child.describe());
    return canConnect(port);
  });
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => resolve(false));
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
