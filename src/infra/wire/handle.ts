/** What node keeps for itself and the handle wire uses: the objects inside a socket, as far as they are needed. */
import { getSystemErrorName } from 'node:util';

/** The handle of a TCP, pipe or TLS socket: node's LibuvStreamWrap or TLSWrap. */
export interface Handle {
  /** Bytes written, and how many of them the kernel does not have yet. */
  readonly bytesWritten: number;
  readonly writeQueueSize: number;
  useUserBuffer(buffer: Buffer): void;
  readStart(): number;
  readStop(): number;
  writeLatin1String(request: WriteRequest, text: string): number;
  writeBuffer(request: WriteRequest, chunk: Buffer): number;
  writev(request: WriteRequest, parts: unknown[], allBuffers: boolean): number;
  /** Only of TLSWrap: the handle below. */
  readonly _parent: Handle;
}

/** Node keeps it until the write has ended, and then calls its `oncomplete` where that is a function. */
export interface WriteRequest {
  /** -1 while node does not keep it. */
  getAsyncId(): number;
}

export interface StreamWrap {
  WriteWrap: new () => WriteRequest;
  kReadBytesOrError: number;
  kLastWriteWasAsync: number;
  streamBaseState: Int32Array;
}

/** Throws where node gives no access to its handles; its permission model may forbid it. */
export function streamWrapOfNode(): StreamWrap {
  const { binding } = process as unknown as { binding: (name: string) => StreamWrap };
  return binding('stream_wrap');
}

/** systemError is the error of a failed call. @param code as handles return it, below 0 */
export function systemError(call: string, code: number): Error {
  const name = getSystemErrorName(code);
  return Object.assign(new Error(`${call} ${name}`), { code: name, errno: code, syscall: call });
}
