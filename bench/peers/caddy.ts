/** Caddy. GOMAXPROCS sets its number of workers. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/free-port.ts';
import { makeCertificate } from '../rig/certificate.ts';
import { launch, serverOf, untilServes } from '../rig/process.ts';
import { commandLine } from '../rig/record.ts';
import { fillTemplate } from '../rig/templates.ts';
import { findProgram, versionOf } from '../rig/tools.ts';
import type { Peer } from './peer.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export const caddy: Peer = {
  name: 'caddy',
  can: { workers: true, accessLog: true, limiter: false },
  missing: () => (findProgram('caddy') === null ? 'caddy is not installed' : ''),
  version: () => versionOf(findProgram('caddy') ?? 'caddy', ['version']),
  async start(folder, { backendPorts, workers, accessLog, tls, grpc }) {
    const program = findProgram('caddy') ?? 'caddy';
    const port = await freePort();
    const config = join(folder, 'caddy.conf');
    fillTemplate(new URL('caddy.conf', import.meta.url), config, {
      SITE: `${tls ? 'https' : 'http'}://:${port}`,
      TLS: tls ? tlsLine(folder) : '',
      LOG: accessLog ? `log {\n\t\toutput file ${join(folder, 'access.log')}\n\t}` : '',
      BACKENDS: backendPorts.map((each) => `${grpc ? 'h2c://' : ''}127.0.0.1:${each}`).join(' '),
    });
    const args = ['run', '--config', config, '--adapter', 'caddyfile'];
    const env = { GOMAXPROCS: String(workers), HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
    const child = launch({ name: 'caddy', folder, command: program, args, env });
    const written = `GOMAXPROCS=${workers} ${commandLine(program, args, { ROOT, folder })}`;
    const facts = { name: 'caddy', folder, port, command: written, tls };
    await untilServes(child, facts, '/tiny');
    return serverOf(child, facts);
  },
};

function tlsLine(folder: string): string {
  const { cert, key } = makeCertificate(folder);
  return `tls ${cert} ${key} {\n\t\tprotocols tls1.3\n\t}`;
}
