/** How to write lines to a descriptor so that a write never waits and lines of several processes never mix. */
import { close, constants, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';

/** A line of the application or the access log, without its newline. */
export const LINE_BYTES = 4000;
/** Writes of up to this size never interleave on a pipe (PIPE_BUF on Linux, pipe(7)). */
export const ATOMIC_WRITE_BYTES = 4096;
/** The most bytes that one UTF-16 unit takes in UTF-8. */
export const UTF8_BYTES = 3;

/** Writes to a file never mix, whatever their size. Each is a task of the thread pool, so a few large ones are cheapest. */
const FILE_BATCH_BYTES = 256 * 1024;
/** Waking the reader costs 6 µs, a write of 4 KiB 1.7 µs: a batch wakes it once, and leaves half of the pipe (64 KiB) to others. */
const PIPE_BATCH_BYTES = 32 * 1024;
const FILE_SIZES = { batchBytes: FILE_BATCH_BYTES, writeBytes: FILE_BATCH_BYTES };
const PIPE_SIZES = { batchBytes: PIPE_BATCH_BYTES, writeBytes: ATOMIC_WRITE_BYTES };
/** A stream socket (journald's, or that of a Node.js parent) never splits a write of this size. */
const SOCKET_WRITE_BYTES = 12 * 1024;

/** LineSink is where a LineWriter's batches go. */
export interface LineSink {
  readonly fd: number;
  readonly batchBytes: number;
  /** The most that one call may write; at least ATOMIC_WRITE_BYTES. */
  readonly writeBytes: number;
  /** Called before each write: the write then fails with EAGAIN instead of waiting. null: it may wait, in the thread pool. */
  readonly unblock: (() => void) | null;
  /** Gives back what was opened for it; null: the descriptor is not its own. */
  readonly close: (() => void) | null;
}

const STDOUT_FD = 1;
/** Who may read a log: its user and its group. */
const LOG_FILE_MODE = 0o640;
/** No open may wait, for the reader of a FIFO for example: that fails with ENXIO. */
const LOG_FILE_FLAGS =
  constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK | constants.O_NOCTTY;

/** openStdoutSink is openLineSink of standard output. */
export function openStdoutSink(): LineSink {
  return openLineSink(STDOUT_FD);
}

/** openFileSink opens a log file to append to, or makes it. It may be a FIFO. Throws what the file system throws. */
export function openFileSink(path: string): LineSink {
  const fd = openSync(path, LOG_FILE_FLAGS, LOG_FILE_MODE);
  const close = closerOf(fd);
  if (fstatSync(fd).isFile()) return { ...FILE_SIZES, fd, unblock: null, close };
  return { ...PIPE_SIZES, fd, unblock: () => undefined, close };
}

/** Asynchronous, because the close of a file on a network may wait. */
function closerOf(fd: number): () => void {
  // A failed close, of a network's file, loses what node cannot write again: nothing is left to do.
  return () => close(fd, () => undefined);
}

/**
 * openLineSink makes the sink of an open descriptor; LineWriter calls it once. Throws what fstat throws (EBADF).
 *
 * O_NONBLOCK on an inherited descriptor would hold for every process that shares it. So a pipe or a terminal is opened a second
 * time, through procfs. A socket, or a pipe of another user, cannot be opened again: there the flag is set on the shared
 * descriptor, as node's own process.stdout would set it.
 */
export function openLineSink(fd: number): LineSink {
  const stats = fstatSync(fd);
  if (stats.isFIFO() || stats.isCharacterDevice()) {
    const ownFd = reopened(fd);
    if (ownFd !== null) return { ...PIPE_SIZES, fd: ownFd, unblock: () => undefined, close: closerOf(ownFd) };
    return { ...PIPE_SIZES, fd, unblock: stats.isFIFO() ? unblockerOf(fd) : null, close: null };
  }
  if (stats.isSocket()) {
    const writeBytes = SOCKET_WRITE_BYTES;
    return { ...PIPE_SIZES, fd, writeBytes, unblock: unblockerOf(fd), close: null };
  }
  return { ...FILE_SIZES, fd, unblock: null, close: null };
}

function reopened(fd: number): number | null {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    // No procfs, no permission or no reader: the inherited descriptor must serve.
    return null;
  }
}

/** The handle's setBlocking is not documented, but it is node's only way to set O_NONBLOCK on an open descriptor. */
interface HandleOwner {
  _handle?: { setBlocking?: (isBlocking: boolean) => number } | null;
}

/** Asked before each write, because node makes a shared descriptor blocking again when a child starts and when it ends. */
function unblockerOf(fd: number): (() => void) | null {
  try {
    // Never closed: that would close the descriptor.
    const { _handle: handle } = new Socket({ fd, readable: false, writable: true }) as HandleOwner;
    return typeof handle?.setBlocking === 'function' ? () => handle.setBlocking?.(false) : null;
  } catch {
    // No stream socket, for example: writes go through the thread pool.
    return null;
  }
}
