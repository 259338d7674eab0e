/** Peers that are scripts for this Node.js: a bare server, and proxies from npm. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/free-port.ts';
import { makeCertificate } from '../rig/certificate.ts';
import { launch, serverOf, untilServes } from '../rig/process.ts';
import { commandLine } from '../rig/record.ts';
import type { Peer } from './peer.ts';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const NOTHING_MORE = { workers: false, accessLog: false, limiter: false };

interface Script {
  name: string;
  file: string;
  /** Arguments before the port. */
  words?: string[];
  /** true: it gets the files of a certificate, and listens with TLS. */
  tls?: boolean;
  /** Name of the npm package; '' for our own scripts. */
  library: string;
}

function scriptPeer({ name, file, words = [], tls = false, library }: Script): Peer {
  const manifest = join(HERE, 'node_modules', library, 'package.json');
  return {
    name,
    can: NOTHING_MORE,
    missing: () => (library === '' || existsSync(manifest) ? '' : `${library} is not installed`),
    version: () =>
      library === ''
        ? `node ${process.versions.node}`
        : (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version,
    async start(folder, { backendPorts }) {
      const port = await freePort();
      const { cert, key } = tls ? makeCertificate(folder) : { cert: '', key: '' };
      const files = tls ? [cert, key] : [];
      const args = [join(HERE, file), ...words, ...files, String(port), ...backendPorts.map(String)];
      const env = { NODE_OPTIONS: undefined, NODE_ENV: 'production' };
      const child = launch({ name, folder, command: process.execPath, args, env });
      const facts = {
        name,
        folder,
        port,
        command: commandLine(process.execPath, args, { ROOT, folder }),
        tls,
      };
      await untilServes(child, facts, '/tiny');
      return serverOf(child, facts);
    },
  };
}

export const nodeHttp = scriptPeer({ name: 'node-http', file: 'node-http.ts', library: '' });
export const nodeHttp2 = scriptPeer({ name: 'node-http2', file: 'node-http2.ts', tls: true, library: '' });
export const nodeProxies = ['http-proxy', 'http-proxy-3', 'httpxy'].map((library) =>
  scriptPeer({ name: library, file: 'node-proxy.mjs', words: [library], library }),
);
export const fastifyProxy = scriptPeer({
  name: 'fastify-http-proxy',
  file: 'fastify-proxy.mjs',
  library: '@fastify/http-proxy',
});
