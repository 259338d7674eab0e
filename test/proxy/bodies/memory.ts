/** What a proxy that runs in this process keeps of what clients send, and how much of it is read at all. */
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { connectRaw, type RawClient } from '../../support/raw-http.ts';
import { makeTempFolder } from '../../support/temp-folder.ts';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** The memory of buffers is given back beside a collection, and surely by the end of the next one. */
function collect(): void {
  gc();
  gc();
}

/** usedBytes is what this process really holds, on V8's heap and beside it. Bytes to be sent must be there before the first call. */
export function usedBytes(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** bufferBytes is what is really held in memory for buffers, without what the collector has not come to yet. */
export function bufferBytes(): number {
  collect();
  return process.memoryUsage().arrayBuffers;
}

/** takenBytes is what the kernel has taken of all that a client wrote; the last 64 KiB may be counted late. */
export function takenBytes({ socket }: RawClient): number {
  return socket.bytesWritten - socket.writableLength;
}

/** keptByKernel is how many bytes, written in such pieces, a Unix socket takes for a peer that reads nothing. */
export async function keptByKernel(piece: Buffer): Promise<number> {
  const path = join(makeTempFolder(), 'unread.sock');
  const server = createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen({ path }, resolve));
  const accepted = new Promise<{ destroy(): void }>((resolve) => server.once('connection', resolve));
  const client = await connectRaw({ path });
  await client.writeUntilStuck(piece);
  const kept = takenBytes(client);
  client.close();
  (await accepted).destroy();
  await new Promise((resolve) => server.close(resolve));
  return kept;
}
