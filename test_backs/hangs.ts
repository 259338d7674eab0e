/**
 * A backend that accepts a connection and then goes silent. `at: head` never answers; `at: body` sends the head and the first
 * byte of a body and then nothing.
 */
import { createServer } from 'node:net';
import { type ListenOptions, listen, runAsScript, type TestBackend } from './server.ts';

export interface HangsOptions extends ListenOptions {
  /** Default: head. */
  at?: 'head' | 'body';
}

/** startHangs runs one until close(). */
export function startHangs(options: HangsOptions = {}): Promise<TestBackend> {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', () => {
      if (options.at === 'body') socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx');
    });
    socket.resume();
  });
  return listen(server, options);
}

if (import.meta.main) {
  await runAsScript(['at'], (options, all) =>
    startHangs({ ...options, at: all.at === 'body' ? 'body' : 'head' }),
  );
}
