/** How to write lines to a descriptor so that a write never waits and lines of several processes never mix. */
import { constants, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';

/** Writes of up to this size never interleave on a pipe (PIPE_BUF on Linux, pipe(7)). */
export const ATOMIC_WRITE_BYTES = 4096;

/**
 * Writes to a file happen one after the other, whatever their size (write(2): on a shared descriptor since Linux 3.14, and
 * with O_APPEND). Each costs a trip to the thread pool: with 64 KiB per write a line cost 0.7 µs more than with 256 KiB.
 */
const FILE_BATCH_BYTES = 256 * 1024;
/**
 * Waking the reader costs 6 µs, a write of 4 KiB 1.7 µs: the writes of a batch share one wake-up and leave half of the pipe
 * (64 KiB) to other workers.
 */
const PIPE_BATCH_BYTES = 32 * 1024;
/** A stream socket (journald's, or that of a Node.js parent) never splits a write of this size. */
const SOCKET_WRITE_BYTES = 12 * 1024;

/** LineSink is where a LineWriter's batches go. */
export interface LineSink {
  readonly fd: number;
  /** Size of a batch, and so the longest line. */
  readonly batchBytes: number;
  /** The most that one call may write; at least ATOMIC_WRITE_BYTES. */
  readonly writeBytes: number;
  /**
   * Call it right before a write, which then answers EAGAIN when the output is full. null: there is no such way, a write may
   * wait and belongs in the thread pool.
   */
  readonly unblock: (() => void) | null;
}

/**
 * openLineSink finds out what an open descriptor is; LineWriter calls it once.
 *
 * A pipe or a terminal is opened a second time, through procfs, so that O_NONBLOCK holds for us alone: on the inherited
 * descriptor it holds for every process that shares it. A socket, or a pipe of another user, cannot be opened again; there
 * O_NONBLOCK is set on the shared descriptor, as node's own process.stdout would set it.
 *
 * @throws what fstat throws: EBADF
 */
export function openLineSink(fd: number): LineSink {
  const stats = fstatSync(fd);
  const sizes = { batchBytes: PIPE_BATCH_BYTES, writeBytes: ATOMIC_WRITE_BYTES };
  if (stats.isFIFO() || stats.isCharacterDevice()) {
    const ownFd = reopened(fd);
    if (ownFd !== null) return { ...sizes, fd: ownFd, unblock: () => undefined };
    return { ...sizes, fd, unblock: stats.isFIFO() ? unblockerOf(fd) : null };
  }
  if (stats.isSocket()) return { ...sizes, fd, writeBytes: SOCKET_WRITE_BYTES, unblock: unblockerOf(fd) };
  return { fd, batchBytes: FILE_BATCH_BYTES, writeBytes: FILE_BATCH_BYTES, unblock: null };
}

function reopened(fd: number): number | null {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    // No procfs, no permission or no reader: the inherited descriptor has to do.
    return null;
  }
}

/** setBlocking of a stream's handle is not documented, but the only fcntl that node has. */
interface HandleOwner {
  _handle?: { setBlocking?: (isBlocking: boolean) => number } | null;
}

/** node makes the shared descriptor blocking again when it starts a child and when a child ends: hence before each write. */
function unblockerOf(fd: number): (() => void) | null {
  try {
    // Never closed: that would close the descriptor.
    const { _handle: handle } = new Socket({ fd, readable: false, writable: true }) as HandleOwner;
    if (typeof handle?.setBlocking !== 'function') return null;
    return () => handle.setBlocking?.(false);
  } catch {
    // Not a stream socket, say: writes go through the thread pool.
    return null;
  }
}
