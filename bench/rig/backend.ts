/** The backends of a bench: nginx where it is installed, else Node.js. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/free-port.ts';
import { makeTempFolder, removeTempFolder } from '../../test/support/temp-folder.ts';
import { GRPC_MESSAGE, GRPC_PATH } from './grpc.ts';
import { launch, serverOf, untilServes } from './process.ts';
import { fillTemplate } from './templates.ts';
import { findProgram, versionOf } from './tools.ts';

export interface Backends {
  readonly ports: number[];
  /** Program and version, for the result. */
  readonly kind: string;
  stop(): Promise<void>;
}

const BACKEND_COUNT = 3;
const NODE_BACKEND = fileURLToPath(new URL('node-backend.ts', import.meta.url));

/**
 * startBackends serves /tiny and all paths below it (19 bytes), /10k, /1m and POST /upload on three ports. nginx also answers
 * a unary gRPC call, with HTTP/2 by prior knowledge.
 *
 * @param program path of nginx; null: Node.js
 */
export async function startBackends(program = findProgram('nginx')): Promise<Backends> {
  const folder = makeTempFolder('sluice-bench-');
  const ports = await Promise.all(Array.from({ length: BACKEND_COUNT }, freePort));
  if (program !== null) layOutFiles(folder, ports);
  const child = launch({
    name: 'backend',
    folder,
    command: program ?? process.execPath,
    args:
      program === null
        ? [NODE_BACKEND, ...ports.map(String)]
        : ['-p', folder, '-c', join(folder, 'backend.conf'), '-e', 'stderr'],
  });
  const facts = { name: 'backend', folder, port: ports[0]!, command: '' };
  for (const port of ports) await untilServes(child, { ...facts, port }, '/tiny');
  const server = serverOf(child, facts);
  const kind = program === null ? `node ${process.versions.node}` : `nginx ${versionOf(program, ['-v'])}`;
  return {
    ports,
    kind: `${BACKEND_COUNT} addresses of one ${kind} process`,
    async stop() {
      await server.stop();
      removeTempFolder(folder);
    },
  };
}

function layOutFiles(folder: string, ports: number[]): void {
  // An nginx started by root serves as another user.
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, 'files'));
  writeFileSync(join(folder, 'files', '10k'), Buffer.alloc(10 * 1024, 'x'));
  writeFileSync(join(folder, 'files', '1m'), Buffer.alloc(1024 * 1024, 'x'));
  writeFileSync(join(folder, 'files', 'grpc-message'), GRPC_MESSAGE);
  const listens = ports.map((port) => `listen 127.0.0.1:${port} backlog=4096;`).join('\n    ');
  fillTemplate(new URL('backend.conf', import.meta.url), join(folder, 'backend.conf'), {
    LISTENS: listens,
    GRPC_PATH,
  });
}
