/**
 * The two ways of a text into a socket. The public way is socket.write, which keeps a record of each write and tells of its
 * end a tick later, although the kernel has taken nearly every one before the call returns. The short way asks the handle
 * below the socket, which says so at once: two turns through node's stream machinery less for a small proxied request
 * (figures: docs/architecture.md). It is taken only where probeShortWrites has seen, at the start of the process, that it does the same.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/**
 * TextWriter sends latin1 text and returns whether the kernel has all of it. After a false a `socket.write('', callback)`
 * is called back when it has, or with the error of the write.
 */
export type TextWriter = (socket: Socket, text: string) => boolean;

/** writeTextPublicly uses documented API only. */
export function writeTextPublicly(socket: Socket, text: string): boolean {
  socket.write(text, 'latin1');
  return socket.writableLength === 0 && socket.errored === null;
}

/** What the short way needs of a socket's inside. */
interface InnerSocket extends Socket {
  _handle?: { writeLatin1String(request: null, text: string): number | WriteRequest } | null;
}

/** What node makes of a write that the kernel did not take at once; its memory is its own. */
interface WriteRequest {
  oncomplete: () => void;
}

/** writeTextShortly needs probeShortWrites to have returned true. */
export function writeTextShortly(socket: Socket, text: string): boolean {
  const handle = (socket as InnerSocket)._handle;
  // What waits in the stream comes first.
  if (!handle || socket.connecting || !socket.writable || socket.writableLength > 0) {
    return writeTextPublicly(socket, text);
  }
  const outcome = handle.writeLatin1String(null, text);
  if (outcome === 0) return true;
  // A code: nothing has left, and the public way hears of the same error.
  if (typeof outcome === 'number') return writeTextPublicly(socket, text);
  // The rest lies in the queue below the stream, and whatever is written now behind it.
  outcome.oncomplete = ignoreCompletion;
  return false;
}

function ignoreCompletion(): void {
  // The write behind it tells.
}

const PROBE_MS = 1_000;
const PROBE_SMALL = 'caf\xe9';
/** More than a Unix socket holds. */
const PROBE_LARGE = 'x'.repeat(1_048_576);

/**
 * probeShortWrites tells whether the short way does on this Node.js what the public way does, over a socket of its own: same
 * bytes in the same order, same word on what the kernel has taken, and an end that is told. Some milliseconds, a second at most.
 */
export async function probeShortWrites(): Promise<boolean> {
  // Only there are sockets without a place in the file system.
  if (process.platform !== 'linux') return false;
  const path = `\0sluice-probe-${process.pid}-${randomBytes(8).toString('hex')}`;
  const server = createServer({ pauseOnConnect: true });
  const signal = AbortSignal.timeout(PROBE_MS);
  const sockets: Socket[] = [];
  try {
    server.listen({ path });
    await once(server, 'listening', { signal });
    const trials: string[] = [];
    for (const write of [writeTextShortly, writeTextPublicly]) {
      const accepted = once(server, 'connection', { signal });
      const writer = connect({ path });
      sockets.push(writer);
      await once(writer, 'connect', { signal });
      const [reader] = await accepted;
      sockets.push(reader);
      trials.push(await trial(write, writer, reader, signal));
    }
    return trials[0] === trials[1];
  } catch {
    // Another inside, or no such sockets here: the public way it is.
    return false;
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

/** What a writer does, as text to compare. */
async function trial(
  write: TextWriter,
  writer: Socket,
  reader: Socket,
  signal: AbortSignal,
): Promise<string> {
  const told: unknown[] = [];
  let received = 0;
  let first = '';
  told.push(write(writer, PROBE_SMALL), writer.bytesWritten, writer.writableLength);
  told.push(write(writer, PROBE_LARGE));
  const total = PROBE_SMALL.length + PROBE_LARGE.length + 1;
  const behind = new Promise<void>((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    writer.write('', () => {
      told.push('all out', received >= PROBE_LARGE.length / 2);
      resolve();
    });
  });
  told.push(write(writer, 'y'));
  reader.on('data', (chunk: Buffer) => {
    if (first === '') first = chunk.toString('latin1', 0, PROBE_SMALL.length);
    received += chunk.length;
  });
  reader.resume();
  await behind;
  while (received < total) await once(reader, 'data', { signal });
  return JSON.stringify([...told, first, received, writer.bytesWritten]);
}
