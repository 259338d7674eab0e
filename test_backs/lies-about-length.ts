/**
 * A backend with wrong framing. `how: short` announces more than it sends and ends the connection. `how: long` sends more than
 * it announced, which looks like a second answer, and keeps the connection open. `how: two_lengths` sends two different
 * lengths.
 */
import { createServer } from 'node:net';
import { type ListenOptions, listen, runAsScript, type TestBackend } from './server.ts';

export type Lie = 'short' | 'long' | 'two_lengths';

export interface LiesOptions extends ListenOptions {
  /** Default: short. */
  how?: Lie;
}

const STOLEN = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Smuggled: yes\r\n\r\nstolen';

const ANSWERS: Record<Lie, string> = {
  short: 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this',
  long: `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok${STOLEN}`,
  two_lengths: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 6\r\n\r\nok1234',
};

/** startLiesAboutLength runs one until close(). */
export function startLiesAboutLength(options: LiesOptions = {}): Promise<TestBackend> {
  const how = options.how ?? 'short';
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', () => {
      if (how === 'short') socket.end(ANSWERS.short);
      else socket.write(ANSWERS[how]);
    });
  });
  return listen(server, options);
}

if (import.meta.main) {
  await runAsScript(['how'], (options, all) => {
    const how = all.how ?? 'short';
    if (how !== 'short' && how !== 'long' && how !== 'two_lengths') throw new Error(`unknown lie ${how}`);
    return startLiesAboutLength({ ...options, how });
  });
}
