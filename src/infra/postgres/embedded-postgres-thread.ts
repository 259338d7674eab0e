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

/** While another program is connected, the primary is told so often that it may have written. */
const OTHERS_MS = 250;

/**
 * PostgreSQL's own cache. In WASM its default of 128 MB is resident from the start (379 MiB in all against 218); behind 16 MB
 * there still is the operating system's cache of the files.
 */
const SHARED_BUFFERS = 'shared_buffers=16MB';
const START_PARAMETERS = [...PGlite.defaultStartParams, '-c', SHARED_BUFFERS];

const startSchema = z.object({ dataFolder: z.string(), socketPath: z.string() });

/**
 * A cluster is made under another name and renamed when complete, so that a process killed half-way leaves nothing that
 * looks like a database.
 */
async function makeDataFolder(dataFolder: string): Promise<void> {
  if (existsSync(dataFolder)) return;
  const draft = `${dataFolder}.new`;
  rmSync(draft, { recursive: true, force: true });
  const fresh = await PGlite.create(draft, {
    startParams: START_PARAMETERS,
    initDbStartParams: ['--set', SHARED_BUFFERS],
  });
  await fresh.close();
  renameSync(draft, dataFolder);
}

/**
 * Says 'activity' when somebody connects and, while there is more than Sluice's own connection, again and again: who else
 * is there may write at any time. Silence lets the primary sleep.
 */
function tellActivity(server: PGLiteSocketServer, port: NonNullable<typeof parentPort>): void {
  let timer: NodeJS.Timeout | null = null;
  const tell = (): void => {
    port.postMessage('activity');
    // Told once more after the others have left: their last write may have been the last thing they did.
    if (timer === null || server.getStats().activeConnections > 1) return;
    clearInterval(timer);
    timer = null;
  };
  server.addEventListener('connection', () => {
    tell();
    if (server.getStats().activeConnections > 1) timer ??= setInterval(tell, OTHERS_MS).unref();
  });
}

async function serve(port: NonNullable<typeof parentPort>): Promise<void> {
  const { dataFolder, socketPath } = startSchema.parse(workerData);
  await makeDataFolder(dataFolder);
  const db = await PGlite.create(dataFolder, { startParams: START_PARAMETERS });
  rmSync(socketPath, { force: true });
  const server = new PGLiteSocketServer({ db, path: socketPath, maxConnections: MAX_CONNECTIONS });
  tellActivity(server, port);
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
