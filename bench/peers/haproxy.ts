/** HAProxy: one process, one thread per worker. */
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
const LOG = [
  'log global',
  `log-format '{"time":"%t","requestId":"%ID","clientIp":"%ci","method":"%HM","path":"%HP","status":%ST,"bytesIn":%U,"bytesOut":%B,"totalMs":%Ta,"upstreamMs":%Tr,"backend":"%s","reason":"%ts"}'`,
].join('\n  ');

export const haproxy: Peer = {
  name: 'haproxy',
  can: { workers: true, accessLog: true, limiter: false },
  missing: () => (findProgram('haproxy') === null ? 'haproxy is not installed' : ''),
  version: () => versionOf(findProgram('haproxy') ?? 'haproxy', ['-v']),
  async start(folder, { backendPorts, workers, accessLog, tls, grpc }) {
    const program = findProgram('haproxy') ?? 'haproxy';
    const port = await freePort();
    const config = join(folder, 'haproxy.conf');
    fillTemplate(new URL('haproxy.conf', import.meta.url), config, {
      PORT: port,
      TLS: tls ? `ssl crt ${makeCertificate(folder).both} alpn h2,http/1.1 ssl-min-ver TLSv1.3` : '',
      WORKERS: workers,
      LOG: accessLog ? LOG : 'no log',
      BACKENDS: backendPorts
        .map((each) => `server s${each} 127.0.0.1:${each}${grpc ? ' proto h2' : ''}`)
        .join('\n  '),
    });
    const args = ['-db', '-f', config];
    const child = launch({ name: 'haproxy', folder, command: program, args });
    const command = commandLine(program, args, { ROOT, folder });
    const facts = { name: 'haproxy', folder, port, command, tls };
    await untilServes(child, facts, '/tiny');
    return serverOf(child, facts);
  },
};
