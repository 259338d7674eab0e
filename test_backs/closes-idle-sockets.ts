/**
 * A backend that answers with keep-alive and then closes the connection without warning.
 *
 * `when: idle` closes it `afterMs` after the answer, like a server whose idle time is shorter than the proxy's.
 * `when: next_request` resets it when the next request has arrived on it (the race of B10).
 */
import { createServer, type Socket } from 'node:net';
import { type ListenOptions, listen, runAsScript, type TestBackend } from './server.ts';

export interface ClosesIdleOptions extends ListenOptions {
  /** Default: idle. */
  when?: 'idle' | 'next_request';
  /** For `idle`; default 50. */
  afterMs?: number;
}

const ANSWER =
  'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok';

/** startClosesIdleSockets runs one until close(). It does not understand request bodies. */
export function startClosesIdleSockets(options: ClosesIdleOptions = {}): Promise<TestBackend> {
  const { when = 'idle', afterMs = 50 } = options;
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', () => {
      socket.write(ANSWER);
      if (when === 'next_request') socket.once('data', () => socket.resetAndDestroy());
      else endLater(socket, afterMs);
    });
  });
  return listen(server, options);
}

function endLater(socket: Socket, afterMs: number): void {
  const timer = setTimeout(() => socket.end(), afterMs);
  socket.once('close', () => clearTimeout(timer));
}

if (import.meta.main) {
  await runAsScript(['when', 'after-ms'], (options, all) =>
    startClosesIdleSockets({
      ...options,
      when: all.when === 'next_request' ? 'next_request' : 'idle',
      afterMs: Number(all['after-ms'] ?? 50),
    }),
  );
}
