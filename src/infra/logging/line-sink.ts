/** What a descriptor is, and how lines may be written to it so that those of several processes never mix. */
import { constants, fstatSync, openSync } from 'node:fs';

/** Writes up to this size never interleave on a pipe (PIPE_BUF on Linux, pipe(7)). */
export const ATOMIC_WRITE_BYTES = 4096;

/**
 * Writes to a file are done one after the other, whatever their size (write(2): on a shared descriptor since Linux 3.14;
 * or O_APPEND). Each costs a trip to the thread pool: of 64 KiB it made a line 0.7 µs dearer than of 256 KiB.
 */
const FILE_BATCH_BYTES = 256 * 1024;
/**
 * One wake-up of the reader costs 6 µs, one write of 4 KiB 1.7 µs: a burst shares the first, and leaves half of the pipe
 * (64 KiB) free for other workers.
 */
const PIPE_BATCH_BYTES = 32 * 1024;
/** A stream socket (journald's) takes up to 16 KiB less some overhead in one piece: the kernel never splits this. */
const SOCKET_BATCH_BYTES = 12 * 1024;

/** LineSink is where a LineWriter's batches go. */
export interface LineSink {
  readonly fd: number;
  /** What lines wait for company up to. */
  readonly batchBytes: number;
  /** The most that one call may write; at least ATOMIC_WRITE_BYTES. */
  readonly writeBytes: number;
  /** Whether a full output answers EAGAIN; else a write may wait, and belongs into the thread pool. */
  readonly nonBlocking: boolean;
}

/**
 * openLineSink looks at what an open descriptor is; LineWriter calls it once.
 *
 * A pipe is opened a second time, by procfs, to have an O_NONBLOCK of our own: on the inherited descriptor it would hold
 * for every process that shares it. Where that is not allowed (a pipe of another user), the thread pool has to do.
 *
 * @throws what fstat throws: EBADF
 */
export function openLineSink(fd: number): LineSink {
  const stats = fstatSync(fd);
  if (stats.isFIFO()) {
    const ownFd = reopenedPipe(fd);
    const sizes = { batchBytes: PIPE_BATCH_BYTES, writeBytes: ATOMIC_WRITE_BYTES };
    return { fd: ownFd ?? fd, ...sizes, nonBlocking: ownFd !== null };
  }
  const bytes = stats.isSocket() ? SOCKET_BATCH_BYTES : FILE_BATCH_BYTES;
  return { fd, batchBytes: bytes, writeBytes: bytes, nonBlocking: false };
}

function reopenedPipe(fd: number): number | null {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    // No procfs, no permission or no reader: all the same, the descriptor is used as it is.
    return null;
  }
}
