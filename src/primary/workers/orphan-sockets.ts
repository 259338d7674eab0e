/**
 * Receives the listening sockets of an orphan (worker/give-sockets.ts is the sender). Node gives descriptors only to a process that
 * was started with a channel; this one was not. So it uses node's own parts: a pipe that takes descriptors (IPC), the `handle` of a
 * Socket, and the pipe's pendingHandle. They are the same in Node.js 24 and 26. What is missing fails, and the ports are waited for.
 */
import { Socket } from 'node:net';
import { LbError } from '../../contract/errors.ts';
import { withDeadline } from '../../infra/with-deadline.ts';
import { HeldSocket, type SocketHandle } from './held-socket.ts';

/** Node's PipeWrap, as far as it is needed. */
interface Pipe {
  pendingHandle?: SocketHandle | null;
}

interface PipeOwner {
  _handle?: Pipe | null;
}

/** PipeConstants.IPC of node's. */
const IPC = 2;
/** What the sender waits for before the next one (child_process of node). */
const ACKNOWLEDGED = '{"cmd":"NODE_HANDLE_ACK"}\n';
/** The sender is a process that starts meanwhile. */
const RECEIVE_MS = 4_000;

/**
 * receiveSockets resolves with the sockets that are given away at a path. Rejects where that takes long or node lacks the means.
 *
 * @param neighbour a connection to a Unix socket: it has the class of the pipe
 */
export async function receiveSockets(path: string, neighbour: Socket, count: number): Promise<HeldSocket[]> {
  if (count === 0) return [];
  const Pipe = (neighbour as PipeOwner)._handle?.constructor as (new (type: number) => Pipe) | undefined;
  if (Pipe === undefined)
    throw new LbError('internal_error', 'this Node.js has no pipe to receive sockets by');
  const pipe = new Pipe(IPC);
  const options: object = { handle: pipe, manualStart: true };
  const socket = new Socket(options);
  const received: HeldSocket[] = [];
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  // An error may come after the end of the wait.
  done.catch(() => undefined);
  socket.on('error', reject);
  socket.on('close', () => reject(new LbError('internal_error', 'the sender ended before all had come')));
  socket.on('data', () => {
    const { pendingHandle } = pipe;
    if (!pendingHandle) return;
    pipe.pendingHandle = null;
    received.push(new HeldSocket(pendingHandle.fd, pendingHandle));
    socket.write(ACKNOWLEDGED);
    if (received.length === count) resolve();
  });
  try {
    socket.connect({ path });
    await withDeadline(done, RECEIVE_MS, 'receiving the listening sockets');
    return received;
  } catch (thrown) {
    for (const each of received) each.close();
    throw thrown;
  } finally {
    // The sender ends with it. What was written leaves first.
    socket.end();
    socket.resume();
  }
}
