/** A socket as WriteWatch sees it: on documented API pieces count once all of a piece has left. */
import type { Socket } from 'node:net';
import type { WriteWatchOptions } from '../../../infra/wire/write-watch.ts';

export function watchedSocket(socket: Socket): WriteWatchOptions['wire'] {
  return {
    get closed() {
      return socket.destroyed;
    },
    get blocked() {
      return socket.writableLength > 0;
    },
    get takenBytes() {
      return socket.bytesWritten - socket.writableLength;
    },
  };
}
