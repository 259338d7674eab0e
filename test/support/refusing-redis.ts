/** A peer that answers every command of Redis with an error. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

export interface RefusingRedis {
  readonly port: number;
  /** What follows the `-` of each answer. */
  answer: string;
  close(): Promise<void>;
}

/** startRefusingRedis starts it; put `t.after(() => peer.close())` on the next line. */
export async function startRefusingRedis(answer: string): Promise<RefusingRedis> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes) => {
      const commands = bytes.toString('latin1').match(/\*\d+\r\n/g) ?? [];
      socket.write(`-${peer.answer}\r\n`.repeat(commands.length));
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const peer: RefusingRedis = {
    port: (server.address() as AddressInfo).port,
    answer,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  return peer;
}
