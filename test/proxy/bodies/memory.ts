/** How much memory a proxy in this process holds, and how many bytes of its clients it has read. */
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

/** usedBytes collects garbage and returns the memory in use, on V8's heap and outside. Make the bytes to send before the first call. */
export function usedBytes(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** bufferBytes collects garbage and returns the memory that buffers hold. */
export function bufferBytes(): number {
  collect();
  return process.memoryUsage().arrayBuffers;
}

/** takenBytes is how many bytes of a client the kernel has accepted; the last 64 KiB may be counted late. */
export function takenBytes({ socket }: RawClient): number {
  return socket.bytesWritten - socket.writableLength;
}

/** keptByKernel is how many bytes in such pieces a Unix socket buffers for a peer that reads nothing. */
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
