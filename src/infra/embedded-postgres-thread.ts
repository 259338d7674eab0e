/**
 * Entry of the thread that runs PGlite (PostgreSQL as WASM) behind a Unix socket. It blocks its own event loop while a
 * statement runs, which is why it has a thread. Anything unexpected ends it; embedded-postgres.ts starts it anew.
 */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import * as z from 'zod';

/** Sluice's pool has one connection; a second one appears for a moment when the first is replaced. */
const MAX_CONNECTIONS = 4;

const startSchema = z.object({ dataFolder: z.string(), socketPath: z.string() });

/**
 * A cluster is made under another name and renamed when complete, so that a process killed half-way leaves nothing that
 * looks like a database.
 */
async function makeDataFolder(dataFolder: string): Promise<void> {
  if (existsSync(dataFolder)) return;
  const draft = `${dataFolder}.new`;
  rmSync(draft, { recursive: true, force: true });
  const fresh = await PGlite.create(draft);
  await fresh.close();
  renameSync(draft, dataFolder);
}

async function serve(port: NonNullable<typeof parentPort>): Promise<void> {
  const { dataFolder, socketPath } = startSchema.parse(workerData);
  await makeDataFolder(dataFolder);
  const db = await PGlite.create(dataFolder);
  rmSync(socketPath, { force: true });
  const server = new PGLiteSocketServer({ db, path: socketPath, maxConnections: MAX_CONNECTIONS });
  await server.start();
  port.once('message', () => {
    // Order: nobody may be heard after the shutdown's checkpoint.
    server
      .stop()
      .then(() => db.close())
      .then(() => port.close())
      .catch(fail);
  });
  port.postMessage('ready');
}

function fail(error: unknown): never {
  throw error;
}

if (parentPort !== null) serve(parentPort).catch(fail);
