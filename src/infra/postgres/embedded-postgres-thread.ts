/**
 * Entry of the thread that runs PGlite (PostgreSQL as WASM) behind a Unix socket: PGlite blocks its event loop while a statement
 * runs. An unexpected error ends the thread, and embedded-postgres.ts starts another one.
 *
 * As the main file of a process it makes the data of a new database in the folder of its argument, and exits.
 */
import { inspect } from 'node:util';
import { parentPort, workerData } from 'node:worker_threads';
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';

/** Sluice has one connection, and for a moment two when it is replaced. Operators may connect too. */
const MAX_CONNECTIONS = 4;

/** How often 'activity' is posted while others are connected. */
const OTHERS_MS = 250;

/** PostgreSQL's own cache. In WASM all of it is resident from the start; the operating system caches the files besides. */
const SHARED_BUFFERS = 'shared_buffers=4MB';
const START_PARAMETERS = [...PGlite.defaultStartParams, '-c', SHARED_BUFFERS];

/** errno of WASI, as PGlite's file system throws it. */
const ENOSPC = 51;

/** What the thread is started with. */
export interface ThreadStart {
  dataFolder: string;
  socketPath: string;
}

async function makeData(folder: string): Promise<void> {
  // Standard input ends with the process that wanted the data.
  process.stdin.resume().on('end', () => process.exit(1));
  process.on('uncaughtException', (error) => {
    const isFull = 'errno' in error && error.errno === ENOSPC;
    process.stderr.write(isFull ? 'ENOSPC: no space left' : (error.message ?? inspect(error)), () =>
      process.exit(1),
    );
  });
  const fresh = await PGlite.create(folder, {
    startParams: START_PARAMETERS,
    // A segment of the log is 1 MB instead of 16: most of what ships with a build was an empty one.
    initDbStartParams: ['--set', SHARED_BUFFERS, '--wal-segsize=1'],
  });
  await fresh.close();
  process.exit(0);
}

/**
 * Posts 'activity' at each connection, and again while another program is connected, because it may write at any time.
 * The primary polls the database only after it.
 */
function tellActivity(server: PGLiteSocketServer, port: NonNullable<typeof parentPort>): void {
  let timer: NodeJS.Timeout | null = null;
  const tell = (): void => {
    port.postMessage('activity');
    // Once more after the others have left: they may have written just before.
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
  const { dataFolder, socketPath } = workerData as ThreadStart;
  const db = await PGlite.create(dataFolder, { startParams: START_PARAMETERS });
  const server = new PGLiteSocketServer({ db, path: socketPath, maxConnections: MAX_CONNECTIONS });
  tellActivity(server, port);
  await server.start();
  port.once('message', async () => {
    // Order: no statement may run after the checkpoint of the shutdown.
    await server.stop();
    await db.close();
    port.close();
  });
  port.postMessage('ready');
}

if (parentPort !== null) await serve(parentPort);
else if (process.argv[2] !== undefined) await makeData(process.argv[2]);
